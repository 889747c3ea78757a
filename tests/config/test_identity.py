"""What changes a run's name and what does not."""

import sys

import pytest

from ufgir.config import axes, cell, load_config, run_name
from ufgir.config.identity import run_hash, slug
from ufgir.config.parts import file_digest, source_digest

OVERRIDES = ("backbone=micro", "image_size=32")
TABLES = "0" * 64


def hash_of(*overrides: str, tables: str = TABLES) -> str:
    return run_hash(load_config([*OVERRIDES, *overrides]), tables)


@pytest.mark.parametrize(
    "override",
    [
        "keep_rate=0.4", "seed=2", "optim.lr=2e-4", "optim=sgd", "schedule=constant", "augment=none", "plugins=cla",
        "augment.label_smoothing=0.1", "batch_size=16", "trainer.precision=bf16-mixed", "trainer.devices=2",
        "trainer.num_nodes=2", "protocol=val", "callbacks=ema", "dataset.resize=40", "trainer.limit_train_batches=1",
    ],
)  # fmt: skip
def test_what_can_change_the_numbers_changes_the_hash(override):
    assert hash_of(override) != hash_of()


@pytest.mark.parametrize(
    "override",
    [
        "output_root=elsewhere", "dataset.root=/elsewhere", "dataset.num_workers=3", "dataset.cache=disk", "keep=all",
        "logger=wandb", "callbacks=[tokens,throughput]", "trainer.log_every_n_steps=1", "trainer.progress=false",
        "trainer=cpu", "trainer.gradient_checkpointing=true", "keep_rate=0.5", "keep_rate=[0.5,0.5,0.5]",
        "+dataset.progress=false",
        "optim.weight_decay=0.050", "trainer.precision=auto",
    ],
)  # fmt: skip
def test_what_cannot_does_not(override):
    assert hash_of(override) == hash_of()


def test_one_batch_is_not_all_of_them():
    limit = "+trainer.limit_val_batches"
    assert hash_of("protocol=val", f"{limit}=1") != hash_of("protocol=val", f"{limit}=1.0")


def test_how_many_devices_counts_and_not_which():
    assert hash_of("trainer.devices=[3]") == hash_of("trainer.devices=[0]") == hash_of()
    assert hash_of("trainer.devices=[0,1]") == hash_of("trainer.devices=2") != hash_of()


def test_the_tables_count():
    assert hash_of(tables="1" * 64) != hash_of()


def test_the_identity_is_that_of_any_machine(monkeypatch):
    """`auto` stays `auto`: a login node without a GPU looks for the folders that its jobs write."""
    import torch

    here = hash_of()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert hash_of() == here


def test_the_source_of_a_users_class_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "my_parts.py"
    file.write_text("from torch.optim import SGD\n\n\nclass Mine(SGD):\n    pass\n")
    own = ("~optim", "+optim={_target_:my_parts.Mine,lr:0.1}")
    before = hash_of(*own)
    file.write_text(file.read_text() + "    step_size = 2\n")
    source_digest.cache_clear()
    file_digest.cache_clear()
    assert hash_of(*own) != before
    sys.modules.pop("my_parts")


def test_the_weights_of_a_checkpoint_count(tmp_path):
    file = tmp_path / "weights.pt"
    hashes = set()
    for content in (b"a", b"b"):
        file.write_bytes(content)
        file_digest.cache_clear()
        hashes.add(hash_of(f"backbone.checkpoint={file}"))
    assert len(hashes) == 2


def test_names_are_readable():
    config = load_config([*OVERRIDES, "keep_rate=[0.7,0.5,0.3]", "seed=10"])
    assert run_name(config, TABLES).startswith("leaves-micro-evit-0.7_0.5_0.3-clca-32-s10-")
    config = load_config([*OVERRIDES, "protocol=cv", "fold=2", "folds=4", "reduction_layers=[2,5]", "reducer=tome"])
    assert slug(config) == "leaves-micro-tome-0.5-at_2_5-clca-32-cv-fold2of4-s1"
    assert axes(config)["fold"] == 2


def test_a_backbone_is_named_by_the_values_of_its_sizes():
    wide = load_config([*OVERRIDES, "backbone.kwargs.embed_dim=192", "backbone.kwargs.depth=24"])
    assert "micro" not in axes(wide)["backbone"]
    assert axes(load_config(OVERRIDES))["backbone"] == "micro"


def test_a_cell_is_what_seeds_and_folds_share():
    cells = {cell(load_config([*OVERRIDES, "protocol=cv", f"fold={k}", f"seed={s}"])) for k in (0, 1) for s in (1, 2)}
    assert len(cells) == 1
    assert cell(load_config(OVERRIDES)) == cell(load_config([*OVERRIDES, "data_root=/elsewhere"]))
    assert cell(load_config(OVERRIDES)) != cell(load_config([*OVERRIDES, "optim.lr=1"]))
