"""Resolved settings, and their file."""


import pytest
import torch
import yaml

from ufgir.config import compose_run, resolve, save_config


def test_defaults_are_the_recipe_of_the_paper(settings_of):
    settings = settings_of("dataset=csv")
    assert settings["optim"] == {
        "name": "adamw", "lr": 1e-4, "batch_size": 32, "weight_decay": 0.05, "betas": [0.9, 0.999], "eps": 1e-8,
        "min_lr": 1e-5, "warmup_lr": 1e-6, "warmup_epochs": 2, "cooldown_epochs": 5,
    }  # fmt: skip
    assert settings["augment"] == {"name": "paper", "random_crop": True, "hflip": 0.5}
    assert settings["plugins"] == {
        "name": "clca",
        "cache": {"num_clr": 1, "gap": True, "recover_at_last": True, "pool_cls": False, "pool_clr": False},
        "head": {"name": "cla", "multiplier": 2},
    }
    assert (settings["reduction_layers"], settings["image_size"], settings["protocol"]) == ([3, 6, 9], 224, "test")
    assert (settings["trainer"]["max_epochs"], settings["trainer"]["gradient_clip_val"]) == (50, None)
    assert (settings["dataset"]["resize"], settings["backbone"]["pretrained"]) == (256, True)


def test_the_embedded_data_set_needs_no_download(settings_of):
    settings = settings_of("backbone=deit_s reducer=evit keep_rate=0.1")
    assert settings["dataset"]["name"] == "leaves"
    assert settings["backbone"]["pretrained"] is False


@pytest.mark.parametrize(
    ("line", "rate"),
    [
        ("reducer=none", 1.0),
        ("reducer=evit", 0.5),
        ("reducer=topk reducer.keep_rate=0.3", 0.3),
        ("reducer=evit keep_rate=0.7", 0.7),
        ("keep_rate=[0.5,0.7,0.9]", [0.5, 0.7, 0.9]),
        ("keep_rate=[0.5,0.5,0.5]", 0.5),
    ],
)
def test_keep_rate(settings_of, line, rate):
    assert settings_of(line)["keep_rate"] == rate


@pytest.mark.parametrize(
    ("epochs", "warmup", "cooldown"),
    [(1, 0, 0), (2, 1, 0), (3, 2, 0), (10, 2, 1), (29, 2, 2), (30, 2, 3), (50, 2, 5), (200, 2, 5)],
)
def test_epochs_of_the_schedule(settings_of, epochs, warmup, cooldown):
    optim = settings_of(f"trainer.max_epochs={epochs}")["optim"]
    assert (optim["warmup_epochs"], optim["cooldown_epochs"]) == (warmup, cooldown)


@pytest.mark.parametrize(
    ("line", "has_cuda", "precision"),
    [
        ("", False, "32-true"),
        ("", True, "16-mixed"),
        ("trainer=gpu", True, "16-mixed"),
        ("trainer=cpu", True, "32-true"),
        ("trainer.precision=32", True, "32-true"),
        ("trainer.precision=bf16", False, "bf16-mixed"),
    ],
)
def test_precision_is_chosen_by_the_device(settings_of, monkeypatch, line, has_cuda, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert settings_of(line)["trainer"]["precision"] == precision


def test_resolving_leaves_the_composed_config_alone_and_is_plain():
    config, _ = compose_run(["keep_rate=[0.5,0.6,0.7]"])
    settings = resolve(config)
    assert config["optim"]["warmup_epochs"] is None
    assert type(settings["optim"]["betas"]) is list and type(settings["plugins"]["cache"]) is dict
    assert resolve(settings) == settings


@pytest.mark.parametrize("line", ["", "experiment=demo keep_rate=[0.5,0.7,0.9]", "logger=wandb dataset=csv"])
def test_the_file_gives_the_same_settings_back(settings_of, tmp_path, line):
    settings = settings_of(line)
    save_config(settings, tmp_path / "config.yaml")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == settings
    assert [path.name for path in tmp_path.glob("config*")] == ["config.yaml"]
