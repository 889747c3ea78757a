"""Checkpoints are read without running anything from them."""

import argparse
import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from authors_files import first_release, saved, weights
from ufgir.errors import UserError
from ufgir.published import read_published

WEIGHTS = {"cls_token": torch.ones(1, 1, 4), "blocks.0.norm1.bias": torch.zeros(4)}


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_published(path)
    return str(caught.value)


class Hostile:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, target: Path, by: str = "mkdir") -> None:
        self.target, self.by = target, by

    def __reduce__(self):
        if self.by == "mkdir":
            return os.mkdir, (str(self.target),)
        return exec, (f"import os; os.mkdir({str(self.target)!r})",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("by", ["mkdir", "exec"])
@pytest.mark.parametrize("place", ["args", "inside args", "model", "alone"])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path, place, by, zipped):
    hostile = Hostile(tmp_path / "ran", by)
    content = {
        "args": {"model": WEIGHTS, "args": hostile},
        "inside args": {"model": WEIGHTS, "args": argparse.Namespace(model="deit_tiny_patch16_224", seed=hostile)},
        "model": {"model": {**WEIGHTS, "head.weight": hostile}},
        "alone": hostile,
    }[place]
    file = tmp_path / "hostile.pth"
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    torch.load(file, weights_only=False)
    hostile.target.rmdir()  # so it runs where it is let
    message = refusal(file)
    assert not hostile.target.exists()
    assert "was refused: it names " in message and f"{by}, which loading it in the usual way would run" in message
    assert "Nothing in it was executed." in message


def test_a_plain_pickle_is_refused_and_does_not_run(tmp_path):
    hostile = Hostile(tmp_path / "ran")
    (tmp_path / "hostile.pth").write_bytes(pickle.dumps(hostile, protocol=2))
    refusal(tmp_path / "hostile.pth")
    assert not hostile.target.exists()


def test_a_namespace_cannot_smuggle_a_class_in(tmp_path):
    content = {"model": WEIGHTS, "args": argparse.Namespace(model=pickle.Unpickler)}
    assert "names pickle.Unpickler" in refusal(saved(content, tmp_path / "x.pth"))


def test_settings_of_every_plain_kind_are_read(tmp_path):
    values = {
        "Model": "evit_x", "rate": np.float64(0.5), "count": np.int64(3), "out": Path("results/x"),
        "device": torch.device("cpu"), "betas": (0.9, 0.999), "nested": types.SimpleNamespace(depth=12), "none": None,
        "weights": torch.ones(3), 5: "five",
    }  # fmt: skip
    published = read_published(saved({"model": WEIGHTS, "config": values}, tmp_path / "x.pth"))
    assert published.section == "config"
    assert published.settings == {
        "model": "evit_x", "rate": 0.5, "count": 3, "out": "results/x", "device": "cpu", "betas": [0.9, 0.999],
        "nested.depth": 12, "none": None, "weights": None, "5": "five",
    }  # fmt: skip


def test_a_dict_of_settings_and_foreign_mappings_are_read(tmp_path, monkeypatch):
    class CfgNode(dict):
        """As yacs makes it: a dict with attributes of its own."""

    yacs = types.ModuleType("yacs.config")
    yacs.CfgNode, CfgNode.__module__, CfgNode.__qualname__ = CfgNode, "yacs.config", "CfgNode"
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", yacs)
    node = CfgNode(MODEL=CfgNode(NAME="evit_x"))
    node.__dict__["__immutable__"] = True
    file = saved({"model": WEIGHTS, "config": node}, tmp_path / "x.pth")
    assert read_published(file).settings == {"model.name": "evit_x"}


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ([1, 2], "holds a list, not a checkpoint"),
        ({}, "holds no weights"),
        ({"model": {}, "epoch": 3}, "it has model, epoch."),
        ({"model": {"a": 1.0}}, "expected tensors by name under model"),
        ({"format": 1, "config": {}, "class_names": [], "state_dict": {}}, "is a weights file of ufgir already"),
    ],
)
def test_what_is_no_published_checkpoint(tmp_path, content, part):
    assert part in refusal(saved(content, tmp_path / "x.pth"))


def test_damaged_and_foreign_files(tmp_path):
    file = saved(first_release("none-nocache-linear"), tmp_path / "whole.pth")
    whole = file.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 10):
        (tmp_path / "cut.pth").write_bytes(whole[:size])
        assert "cut.pth cannot be read as a checkpoint" in refusal(tmp_path / "cut.pth")
    (tmp_path / "pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "is a pointer of Git LFS" in refusal(tmp_path / "pointer.pth")
    assert "does not exist" in refusal(tmp_path / "nowhere.pth")
    assert "does not exist" in refusal(tmp_path)


def test_prefixes_and_moving_averages_are_told(tmp_path):
    wrapped = {f"module._orig_mod.{name}": value for name, value in WEIGHTS.items()}
    published = read_published(saved({"model": wrapped, "ema_best": True}, tmp_path / "x.pth"))
    assert list(published.state_dict) == list(WEIGHTS)
    assert len(published.remarks) == 3 and "ema_best" in published.remarks[-1]
    published = read_published(saved({"model": WEIGHTS, "model_ema": WEIGHTS}, tmp_path / "y.pth"))
    assert "model_ema, is left out" in published.remarks[0]


def test_the_optimisers_states_are_not_needed(tmp_path):
    content = first_release("none-nocache-linear")
    published = read_published(saved(content, tmp_path / "x.pth"))
    assert published.section == "args" and published.settings["keep_rate"] == [0.5]
    assert all(torch.equal(published.state_dict[name], value) for name, value in weights("none-nocache-linear").items())
