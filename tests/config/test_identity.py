"""A run's name: the same for the same numbers, another for others."""

import re

import pandas as pd
import pytest

from ufgir.config import axes, cell, file_digest, run_hash, slug, tables_digest

CHANGING = [
    "seed=2", "keep_rate=0.3", "keep_rate=[0.5,0.5,0.6]", "image_size=448", "reduction_layers=[3,6]", "protocol=val",
    "reducer=topk", "reducer=none", "plugins=base", "plugins=cla", "plugins=clc", "plugins=ifa",
    "plugins.cache.num_clr=2", "plugins.cache.gap=false", "plugins.cache.pool_cls=true",
    "plugins.cache.recover_at_last=false", "plugins.head.multiplier=3",
    "backbone=deit_t", "backbone.name=vit_small_patch16_224", "backbone.pretrained=true", "backbone=micro",
    "backbone=vit_b", "backbone=vit_b_mocov3", "backbone=vit_b_mae", "backbone=dinov2_b_reg",
    "+backbone.kwargs.qkv_bias=false", "dataset.pretrained=true",
    "optim.lr=2e-4", "optim.batch_size=16", "optim.weight_decay=0", "optim.betas=[0.9,0.99]", "optim.min_lr=0",
    "optim.warmup_epochs=0", "optim.cooldown_epochs=1", "trainer.max_epochs=31", "dataset.epochs=31",
    "trainer.precision=bf16-mixed", "trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=1",
    "trainer.compile=true", "trainer.limit_train_batches=1", "trainer.limit_train_batches=0.5",
    "trainer.limit_test_batches=2", "+trainer.deterministic=true",
    "augment=none", "augment.hflip=0", "augment.random_crop=false", "dataset.resize=300", "dataset.train_images=8",
    "dataset.render.seed=1", "dataset.render.size=128", "dataset.render.train=5", "dataset.name=mine",
]  # fmt: skip

KEEPING = [
    "keep_rate=0.5", "keep_rate=[0.5,0.5,0.5]", "reduction_layers=[3,6,9]", "image_size=224",
    "optim.lr=0.0001", "optim.lr=1e-4", "optim.lr=1.0e-4", "optim.weight_decay=5e-2", "optim.eps=0.00000001",
    "optim.warmup_epochs=2", "optim.cooldown_epochs=3", "trainer.max_epochs=30", "dataset.epochs=30",
    "trainer.max_epochs=30 dataset.epochs=7", "dataset.resize=256",
    "dataset.pretrained=true backbone.pretrained=false", "keep_rate=0.5 reducer.keep_rate=0.9",
    "trainer.precision=auto", "trainer.precision=32", "trainer.precision=32-true",
    "backbone.name=deit_small_patch16_224.fb_in1k", "trainer.limit_train_batches=1.0",
    "keep=all", "callbacks.tokens=true", "data_root=/d", "output_root=/o", "dataset.root=/r", "dataset.images=i",
    "dataset.cache=none", "dataset.num_workers=4", "trainer=cpu", "trainer.devices=2", "trainer.num_nodes=2",
    "trainer.strategy=ddp", "trainer.progress=false", "trainer.profiler=simple", "trainer.log_every_n_steps=1",
    "trainer.gradient_checkpointing=true", "logger=wandb", "logger=wandb logger.mode=offline logger.tags=[a]",
]  # fmt: skip

SAME = [
    ("keep_rate=1", "keep_rate=1.0"),
    ("optim.weight_decay=1", "optim.weight_decay=1.0"),
    ("plugins=cla", "plugins.cache=false"),
    ("augment=none", "augment.random_crop=false augment.hflip=0"),
    ("trainer.precision=16-true", "trainer.precision=16-true trainer.devices=2"),
    ("trainer.precision=bf16", "trainer.precision=bf16-mixed"),
    ("seed=3 optim.lr=1e-3", "optim.lr=0.001 seed=3"),
    ("reducer=none", "reducer=none keep_rate=1"),
]


@pytest.fixture(scope="module")
def hash_of(settings_of):
    return lambda line="": run_hash(settings_of(line), "tables")


def test_every_change_of_the_numbers_has_a_hash_of_its_own(hash_of):
    hashes = {line: hash_of(line) for line in ["", *CHANGING]}
    alike = [{"trainer.max_epochs=31", "dataset.epochs=31"}, {"backbone.pretrained=true", "dataset.pretrained=true"}]
    for line, other in ((a, b) for a in hashes for b in hashes if a < b and {a, b} not in alike):
        assert hashes[line] != hashes[other], (line, other)
    assert all(re.fullmatch("[0-9a-f]{10}", value) for value in hashes.values())


@pytest.mark.parametrize("line", KEEPING)
def test_what_does_not_change_the_numbers_keeps_the_hash(hash_of, line):
    assert hash_of(line) == hash_of()


@pytest.mark.parametrize(("line", "other"), SAME)
def test_the_same_numbers_written_otherwise_have_the_same_hash(hash_of, line, other):
    assert hash_of(line) == hash_of(other)


def test_the_hash_of_a_known_config_stays(hash_of):
    """Another hash would leave everyone's finished runs behind: change it only with what they computed."""
    assert hash_of("dataset=csv trainer=cpu") == "b10c352f6b"


def test_the_content_of_a_checkpoint_counts_and_not_its_path(settings_of, tmp_path):
    for name, content in {"a.pth": b"one", "b.pth": b"one", "c.pth": b"two"}.items():
        (tmp_path / name).write_bytes(content)

    def hash_with(name: str, *more: str) -> str:
        path = tmp_path / name
        return run_hash(settings_of(" ".join([f"backbone.checkpoint={path}", *more])), "tables", file_digest(path))

    assert hash_with("a.pth") == hash_with("b.pth") == hash_with("a.pth", "backbone.pretrained=true")
    assert len({hash_with("a.pth"), hash_with("c.pth"), run_hash(settings_of(), "tables")}) == 3


def test_the_content_of_the_tables_counts(settings_of):
    table = pd.DataFrame({"class_id": [0, 1], "dir": ["a.png", "b.png"]})
    others = [
        {"train": table[::-1]},
        {"train": table.assign(class_id=[1, 0])},
        {"train": table.assign(dir=["a.png", "c.png"])},
        {"test": table},
        {"train": table, "test": table},
        {},
    ]
    digests = [tables_digest(tables) for tables in [{"train": table}, *others]]
    assert len(set(digests)) == len(digests)
    assert tables_digest({"train": table.assign(note="x").set_index("dir", drop=False)}) == digests[0]
    assert run_hash(settings_of(), digests[0]) != run_hash(settings_of(), digests[1])


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("reducer=evit keep_rate=0.1", "leaves-deit_s-evit-0.1-clca-224-s1"),
        ("reducer=none plugins=base seed=10 image_size=448", "leaves-deit_s-none-1-base-448-s10"),
        ("keep_rate=[0.5,0.7,1.0]", "leaves-deit_s-evit-0.5_0.7_1-clca-224-s1"),
        ("reduction_layers=[2,5] protocol=val", "leaves-deit_s-evit-0.5-at_2_5-clca-224-val-s1"),
        ("backbone=micro plugins=clc dataset=csv dataset.name=a/b..c", "a_b..c-micro-evit-0.5-clc-224-s1"),
        ("backbone.name=vit_tiny_patch16_224 plugins=ifa", "leaves-vit_tiny_patch16_224-evit-0.5-ifa-224-s1"),
        ("backbone=vit_b_in21k plugins=base", "leaves-vit_b_in21k-evit-0.5-base-224-s1"),
        ("backbone.name=vit_base_patch16_224.dino", "leaves-vit_b_dino-evit-0.5-clca-224-s1"),
        ("backbone=vit_b_mocov3 image_size=448", "leaves-vit_b_mocov3-evit-0.5-clca-448-s1"),
        ("backbone.name=vit_base_patch16_224", "leaves-vit_base_patch16_224-evit-0.5-clca-224-s1"),
        ("plugins.cache=false reducer=topk", "leaves-deit_s-topk-0.5-cla-224-s1"),
        ("plugins=clc plugins.head.name=ifa", "leaves-deit_s-evit-0.5-clc-ifa-224-s1"),
        ("experiment=demo", "leaves-micro-evit-0.25-clca-96-s1"),
    ],
)
def test_slug(settings_of, line, name):
    assert slug(settings_of(line)) == name


def test_a_slug_is_a_file_name_whatever_the_data_set_is_called(settings_of):
    settings = settings_of()
    for name in ("../../etc", "a" * 500, ".hidden", "with space", "Ähre", "a:b|c*"):
        settings["dataset"]["name"] = name
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}", slug(settings))


def test_the_axes_are_plain_words_and_numbers(settings_of):
    line = "dataset=soylocal dataset.root=d backbone=vit_b_mae reducer=tome keep_rate=[0.7,0.5,0.3] plugins=cla"
    assert axes(settings_of(f"{line} image_size=448 optim.lr=5e-4 seed=10 protocol=val")) == {
        "dataset": "soylocal", "backbone": "vit_b_mae", "reducer": "tome", "keep_rate": "0.7_0.5_0.3",
        "plugins": "cla", "image_size": 448, "lr": 5e-4, "seed": 10, "protocol": "val",
    }  # fmt: skip


def test_a_cell_is_what_seeds_have_in_common(settings_of):
    first = cell(settings_of(""))
    assert re.fullmatch("leaves-deit_s-evit-0.5-clca-224-[0-9a-f]{6}", first)
    for line in ("seed=100", "data_root=/elsewhere seed=10", "logger=wandb", "trainer.devices=2"):
        assert cell(settings_of(line)) == first
    own = "dataset=csv dataset.root=/one/mine"
    others = ["optim.lr=5e-4", "trainer.max_epochs=7", "keep_rate=0.1", "protocol=val", own, f"{own}_too"]
    assert len({first, *(cell(settings_of(line)) for line in others)}) == 7
    assert cell(settings_of("dataset=csv dataset.root=/two/mine seed=10")) == cell(settings_of(own))
    long = f"dataset.name={'x' * 64} reducer=evit reduction_layers=[0,1,2,3,4,5,6,7,8,9,10,11] seed=100"
    assert len(cell(settings_of(long))) <= 128  # what W&B takes for a group
