"""The values of settings, each by itself."""

from typing import get_args

import pytest
from lightning.fabric.connector import _PRECISION_INPUT_STR, _PRECISION_INPUT_STR_ALIAS
from omegaconf import OmegaConf

from ufgir.config.checks import flatten
from ufgir.config.rules import RULES
from ufgir.resources import conf_dir

KEEP_RATE = "expected a number above 0 and up to 1, or a list with one such number for each reduction layer, or null."


def test_every_setting_on_disk_has_a_rule_and_every_rule_a_setting():
    found = {key for key, _ in flatten(OmegaConf.to_container(OmegaConf.load(conf_dir() / "train.yaml")))}
    found = {key for key in found if not key.startswith("hydra") and key != "defaults"}
    for group in ("dataset", "backbone", "reducer", "plugins", "augment", "optim", "trainer", "logger"):
        for file in (conf_dir() / group).glob("*.yaml"):
            settings = OmegaConf.to_container(OmegaConf.load(file))
            settings.pop("defaults", None)
            found |= {f"{group}.{key}" for key, _ in flatten(settings)}
    assert found == set(RULES)


@pytest.mark.parametrize("key", RULES)
def test_the_example_of_a_rule_satisfies_it(key):
    assert RULES[key].kind.accepts(RULES[key].example)


def test_every_precision_of_lightning_is_known():
    for name in (*get_args(_PRECISION_INPUT_STR), *get_args(_PRECISION_INPUT_STR_ALIAS), 16, 32, 64, "auto"):
        assert RULES["trainer.precision"].kind.accepts(name)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("keep_rate=0", f"{KEEP_RATE} For example keep_rate=0.5."),
        ("keep_rate=-0.1", f"{KEEP_RATE} For example keep_rate=0.5."),
        ("keep_rate=1.5", f"{KEEP_RATE} For example keep_rate=0.5."),
        ("keep_rate=10%", f"{KEEP_RATE} Did you mean keep_rate=0.1?"),
        ("keep_rate=70", f"{KEEP_RATE} Did you mean keep_rate=0.7?"),
        ("keep_rate=abc", f"{KEEP_RATE} For example keep_rate=0.5."),
        ("keep_rate=true", f"{KEEP_RATE} For example keep_rate=0.5."),
        ("keep_rate=nan", f"{KEEP_RATE} For example keep_rate=0.5."),
        ("keep_rate=[0.5,0.7,1.1]", f"{KEEP_RATE} For example keep_rate=0.5."),
        ("keep_rate=", f"{KEEP_RATE} Did you mean keep_rate=null?"),
        ("reduction_layers=3", "expected a list of blocks, counted from 0. Did you mean reduction_layers=[3]?"),
        ("reduction_layers=[]", "expected a list of blocks, counted from 0. For example reduction_layers=[3,6,9]."),
        ("reduction_layers=[-1,3]", "expected a list of blocks, counted from 0. For example reduction_layers=[3,6,9]."),
        ("reduction_layers=[1.5]", "expected a list of blocks, counted from 0. For example reduction_layers=[3,6,9]."),
        ("image_size=0", "expected an integer of at least 1. For example image_size=224."),
        ("image_size=large", "expected an integer of at least 1. For example image_size=224."),
        ("seed=-1", "expected an integer from 0 to 4294967295. For example seed=1."),
        ("seed=1.5", "expected an integer from 0 to 4294967295. For example seed=1."),
        ("protocol=tset", "expected test or val. Did you mean protocol=test?"),
        ("keep=weight", "expected weights, none or all. Did you mean keep=weights?"),
        ("output_root=7", "expected a path. Did you mean output_root=./7?"),
        ("dataset.cache=rma", "expected none, ram or disk. Did you mean dataset.cache=ram?"),
        ("dataset.resize=None", "expected an integer of at least 1, or null. Did you mean dataset.resize=null?"),
        ("dataset.num_workers=-1", "expected an integer of at least 0, or null. For example dataset.num_workers=4."),
        ("dataset.render.classes=1", "expected an integer of at least 2. For example dataset.render.classes=20."),
        ("backbone.pretrained=yes", "expected true or false. Did you mean backbone.pretrained=true?"),
        ("augment.random_crop=[1]", "expected true or false. For example augment.random_crop=true."),
        ("+backbone.kwargs.num_heads=0", "expected an integer of at least 1. For example backbone.kwargs.num_heads=6."),
        ("+backbone.kwargs.patch_size=[8]", "expected an integer of at least 1, or a list of height and width. "
                                            "For example backbone.kwargs.patch_size=16."),
        ("augment.hflip=50", "expected a number of at least 0 and up to 1. Did you mean augment.hflip=0.5?"),
        ("plugins.cache.num_clr=-1", "expected an integer of at least 0. For example plugins.cache.num_clr=1."),
        ("plugins.cache.gap=1", "expected true or false. Did you mean plugins.cache.gap=true?"),
        ("plugins.head.name=cal", "expected linear, cla or ifa. Did you mean plugins.head.name=cla?"),
        ("plugins.head.multiplier=0", "expected an integer of at least 1. For example plugins.head.multiplier=2."),
        ("optim.lr=0", "expected a number above 0. For example optim.lr=0.0001."),
        ("optim.lr=abc", "expected a number above 0. For example optim.lr=0.0001."),
        ("optim.lr=inf", "expected a number above 0. For example optim.lr=0.0001."),
        ("optim.batch_size=0", "expected an integer of at least 1. For example optim.batch_size=32."),
        ("optim.weight_decay=-1", "expected a number of at least 0. For example optim.weight_decay=0.05."),
        ("optim.betas=[0.9,1]", "expected two numbers of at least 0 and below 1. For example optim.betas=[0.9,0.999]."),
        ("optim.betas=[0.9]", "expected two numbers of at least 0 and below 1. For example optim.betas=[0.9,0.999]."),
        ("trainer.max_epochs=0", "expected an integer of at least 1. For example trainer.max_epochs=50."),
        ("trainer.accumulate_grad_batches=0",
         "expected an integer of at least 1. For example trainer.accumulate_grad_batches=1."),
        ("trainer.accelerator=gpus", "expected auto, cpu, gpu, cuda or mps. Did you mean trainer.accelerator=gpu?"),
        ("trainer.devices=0", "expected a number of devices, a list of their indices, -1 for all, or auto. "
                              "For example trainer.devices=1."),
        ("trainer.limit_train_batches=1.5",
         "expected a number of batches, or a share of them up to 1.0. For example trainer.limit_train_batches=1.0."),
        ("trainer.profiler=simpel",
         "expected simple, advanced or pytorch, or null. Did you mean trainer.profiler=simple?"),
    ],
)  # fmt: skip
def test_values(faults_of, line, fault):
    assert faults_of(line) == [f"{line.lstrip('+')}: {fault}"]


def test_values_of_the_wandb_logger(faults_of):
    assert faults_of("logger=wandb logger.mode=of-line logger.tags=paper logger.project=") == [
        "logger.project=: expected a text. For example logger.project=ufgir.",
        "logger.mode=of-line: expected auto, online, offline or disabled. Did you mean logger.mode=offline?",
        "logger.tags=paper: expected a list of texts. Did you mean logger.tags=[paper]?",
    ]


def test_a_fault_of_the_data_set_is_not_repeated_where_it_is_passed_on(faults_of):
    assert faults_of("dataset.epochs=0 dataset.pretrained=no") == [
        "dataset.epochs=0: expected an integer of at least 1. For example dataset.epochs=50.",
        "dataset.pretrained=no: expected true or false. Did you mean dataset.pretrained=false?",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "keep_rate=1",
        "keep_rate=[0.5,0.7,1]",
        "reduction_layers=[0,11]",
        "seed=0",
        "optim.batch_size=2",
        "optim.batch_size=1 plugins=clc",
        "augment.hflip=0",
        "trainer.limit_train_batches=3",
        "trainer.devices=[0,1]",
        "trainer.gradient_clip_val=1",
        "plugins.cache.num_clr=0",
        "plugins.cache=false",
        "logger=wandb logger.tags=[]",
        "dataset.resize=224",
    ],
)
def test_what_is_allowed(faults_of, line):
    assert faults_of(line) == []
