"""`python -m ufgir.authors`: checkpoints of the paper's authors become ours, and compute the authors' numbers."""

import argparse
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import ufgir
from authors_files import CASES, first_release, follow_up, saved, weights, with_classes
from golden.weights import image_batch
from tiny import make_data
from ufgir import authors as command
from ufgir.cli import run_command
from ufgir.errors import UserError
from ufgir.models import create_model
from ufgir.models.authors import Setting, find_settings, measure, read_checkpoint
from ufgir.training.checkpoint import load_weights

CLCA = "evit-cache-cla"
REPLAYED = (
    "none-cache-cla",
    "topk-cache-linear",
    "evit-cache-ifa",
    "evit-deit3-96px",
    "dyvit-cache-cla",
    "sit-cache-cla",
)
WEIGHTS = {"cls_token": torch.ones(1, 1, 4), "blocks.0.norm1.bias": torch.zeros(4)}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def authors(*arguments: str) -> int:
    return run_command(command.main, arguments, usage=command.__doc__)


def converted(content: dict, *options: str) -> dict:
    """What the command makes of a file with this content."""
    assert authors(f"checkpoint={saved(content, Path('theirs, (1).pth'))}", "out=ours.pt", *options) == 0
    return load_weights(Path("ours.pt"))


def settings_of(case_id: str = CLCA, given: dict | None = None, content: dict | None = None, **changes):
    """What is found out about a checkpoint of the first release with some of its recorded settings changed."""
    content = first_release(case_id, **changes) if content is None else content
    checkpoint = read_checkpoint(saved(content, Path("theirs.pth")))
    return find_settings(checkpoint, {key: Setting(v, f"{key}={v}") for key, v in (given or {}).items()})


@pytest.mark.parametrize("case_id", REPLAYED)
def test_the_authors_logits(case_id):
    case = CASES[case_id]
    layout = first_release if case["head"] == "cla" else follow_up
    converted(layout(case_id) | {"model": weights(case_id, torch.float64)})
    with torch.no_grad():
        images = torch.from_numpy(image_batch(case["input_seed"], case["batch"], case["img_size"]))
        logits = ufgir.load("ours.pt").model(images)
    torch.testing.assert_close(logits, torch.tensor(case["logits"], dtype=torch.float64), rtol=0, atol=1e-6)


def test_every_entry_and_setting_is_accounted_for(capsys):
    config = converted(first_release(CLCA))["config"]
    lines = capsys.readouterr().out.splitlines()
    entries = len(weights(CLCA))  # two are dropped, and one becomes two: pos_embed has rows for the CLR tokens
    assert f"{entries} entries, {entries - 1} of the model, 2 dropped (head.weight, head.bias: " in "\n".join(lines)
    found = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  ")}
    assert found["backbone"] == ["deit_tiny_patch16_224.fb_in1k", "args.model"]
    assert found["image_size"] == ["64", "shapes", "of", "the", "weights"]
    assert lines[-1] == "weights: ours.pt"
    assert config["backbone"]["name"] == "deit_tiny_patch16_224.fb_in1k"
    assert (config["reducer"]["name"], config["keep_rate"], config["reduction_layers"]) == ("evit", 0.5, [3, 6, 9])
    assert config["plugins"]["name"] == "clca" and config["plugins"]["head"] == {"name": "cla", "multiplier": 2}
    assert (config["image_size"], config["dataset"]["name"], config["dataset"]["resize"]) == (64, "cotton80", 73)
    assert (config["seed"], config["protocol"], config["optim"]["lr"]) == (10, "test", 5e-5)
    assert (config["trainer"]["max_epochs"], config["trainer"]["precision"]) == (50, "32-true")


def test_weights_alone_in_half_precision_and_wrapped_are_enough_with_options():
    halves = {f"module._orig_mod.{name}": value.half() for name, value in weights(CLCA).items()}
    content = converted(halves, "backbone=deit_t", "reducer=evit", "keep_rate=0.5", "plugins=clca")
    config, entries = content["config"], content["state_dict"]
    assert (config["reducer"]["name"], config["keep_rate"], config["plugins"]["name"]) == ("evit", 0.5, "clca")
    assert {value.dtype for value in entries.values() if value.is_floating_point()} == {torch.float32}
    assert torch.equal(entries["cls_token"], halves["module._orig_mod.cls_token"].float())


def test_an_existing_file_stays(here, capsys):
    converted(first_release("none-nocache-linear"))
    before = Path("ours.pt").read_bytes()
    arguments = ("checkpoint=theirs, (1).pth", "out=ours.pt")
    assert authors(*arguments) == 0
    assert "exists already, with the same content" in capsys.readouterr().out
    assert authors(*arguments, "reducer=evit", "keep_rate=0.5") == 2
    assert "out=ours.pt" in capsys.readouterr().err and Path("ours.pt").read_bytes() == before
    assert authors(arguments[0], "out=theirs, (1).pth") == 2
    assert "itself" in capsys.readouterr().err
    assert authors(arguments[0], f"out={here}") == 2
    assert {path.name for path in here.iterdir()} == {"theirs, (1).pth", "ours.pt"}


def test_mistakes_leave_nothing(here, capsys):
    fewer = {name: value for name, value in weights(CLCA).items() if name != "blocks.3.norm1.bias"}
    saved(first_release(CLCA) | {"model": fewer}, Path("theirs.pth"))
    assert authors("checkpoint=theirs.pth", "out=new/x.pt") == 2
    assert "blocks.3.norm1.bias" in capsys.readouterr().err
    assert authors("checkpoint=theirs.pth", "keep_rate=1.5", "plugins=clac", "plugins.cache.gap=7", "keep=0.5") == 2
    error = capsys.readouterr().err
    for part in ("out: missing", "keep_rate=1.5", "plugins=clac", "plugins.cache.gap=7", "Did you mean 'keep_rate'"):
        assert part in error
    assert {path.name for path in here.iterdir()} == {"theirs.pth"}


def test_the_settings_of_both_releases_are_understood():
    first, later = settings_of(), settings_of(content=follow_up(CLCA, keep_rate="0.5", reduction_loc="[3, 6, 9]"))
    assert "not" not in " ".join(setting.source for setting in (*first.values(), *later.values()))
    later["keep_rate"] = Setting([later["keep_rate"].value], "")
    assert {key: setting.value for key, setting in first.items()} == {
        key: setting.value for key, setting in later.items()
    }
    assert first["plugins.cache.gap"] == (True, "args.clc_include_gap")
    without = settings_of("evit-nocache-linear", clc_pool_cls=True)
    assert without["plugins.cache"].value is False and not [key for key in without if key.startswith("plugins.cache.")]
    assumed = settings_of(reduction_loc=[], clc_recover_at_last="left out")
    assert assumed["reduction_layers"] == ([3, 6, 9], "the paper's")
    unreduced = settings_of("none-cache-cla", reduction_loc=[2, 5])
    assert unreduced["reduction_layers"].value == [3, 6, 9] and unreduced["keep_rate"].value == 1
    assert settings_of(keep_rate=[0.7, 0.5, 0.3])["keep_rate"].value == [0.7, 0.5, 0.3]


def test_shapes_count_more_than_settings_and_options_more_than_both():
    found = settings_of(input_size=224, num_classes=80, ifa_dws_conv_groups=4, num_clr=3, custom_mean_std=True)
    values = {key: setting.value for key, setting in found.items()}
    assert (values["image_size"], values["num_classes"], values["plugins.head.multiplier"]) == (64, 5, 2)
    sources = "\n".join(setting.source for setting in found.values())
    assert "not 224 (args.input_size)" in sources
    assert "custom_mean_std" in read_checkpoint(Path("theirs.pth")).notes[0]
    small = settings_of(test_resize_size=32)["dataset.resize"]
    assert small.value is None and "args.test_resize_size=32 is less" in small.source
    given = {"backbone": "vit_tiny_patch16_224", "reducer": "topk", "keep_rate": [0.9, 0.8, 0.7],
             "reduction_layers": [2, 4, 6], "plugins.cache.gap": False}  # fmt: skip
    values = settings_of(given=given)
    assert {key: values[key].value for key in given} == given


@pytest.mark.parametrize(
    ("options", "changes", "parts"),
    [
        (["image_size=224"], {}, ["pos_embed (1, 18, 192) instead of (1, 197, 192)"]),
        (["plugins=base"], {}, ["the model has no clr"]),
        (["backbone=deit_s"], {}, ["cls_token (1, 1, 192) instead of (1, 1, 384)", "backbone="]),
        (["backbone=deit_tinny"], {}, ["backbone.name=deit_tinny"]),
        (["reduction_layers=3,6"], {}, ["it has head.", "instead of"]),
        ([], {"model": "resnet50"}, ["backbone.name=resnet50"]),
        ([], {"model": "left out", "keep_rate": []}, ["backbone: not recorded", "reducer: not recorded"]),
        ([], {"model": "evit_deit_small_patch16_224"}, ["cls_token (1, 1, 192) instead of (1, 1, 384)"]),
        ([], {"model": "kmedoids_deit_tiny_patch16_224"}, ["reducer=kmedoids", "evit"]),
        ([], {"model": "sit_deit_tiny_patch16_224"}, ["it lacks reducers.3."]),
        ([], {"keep_rate": []}, ["keep_rate: not recorded", "keep_rate=RATE"]),
        ([], {"clc": False}, ["the model has no clr", "plugins="]),
        ([], {"seed": "a: b: c"}, ["seed=a: b: c"]),
    ],
)
def test_settings_that_cannot_be(options, changes, parts, here, capsys):
    saved(first_release(CLCA, **changes), Path("theirs.pth"))
    assert authors("checkpoint=theirs.pth", "out=x.pt", *options) == 2
    error = capsys.readouterr().err
    for part in parts:
        assert part in error
    assert {path.name for path in here.iterdir()} == {"theirs.pth"}


def test_reducers_whose_settings_mean_something_else():
    """A list of keep rates is one of counts or shares of all tokens for most reducers; DPC-KNN has two options more."""
    with pytest.raises(UserError, match="keep_rate: not recorded"):
        settings_of("ats-cache-cla", keep_rate=[0.7, 0.5, 0.3])
    with pytest.raises(UserError) as caught:
        settings_of("dpcknn-cache-cla", k_neighbors=7, equal_weight=True)
    assert "k_neighbors=7" in str(caught.value) and "equal_weight=True" in str(caught.value)


def test_entries_that_do_not_fit_are_all_named():
    model = create_model("deit_tiny_patch16_224", num_classes=5, img_size=32, cache=True)
    entries = create_model("deit_tiny_patch16_224", num_classes=7, img_size=32).state_dict()
    with pytest.raises(UserError) as caught:
        ufgir.convert_authors_state_dict(entries | {"score_predictor.0.weight": torch.zeros(1)}, model)
    for part in ("lacks cache.clr", "has no score_predictor.0.weight", "head.weight (7, 192) instead of (5, 192)"):
        assert part in str(caught.value)


class Hostile:
    """A pickle that makes a folder when it is loaded."""

    def __reduce__(self):
        return exec, ("import os; os.mkdir('ran')",)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    return str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        {"model": WEIGHTS, "args": argparse.Namespace(model="deit_tiny_patch16_224", seed=Hostile())},
        {"model": {**WEIGHTS, "head.weight": Hostile()}},
        Hostile(),
    ],
)
def test_code_in_a_checkpoint_does_not_run(here, content, zipped):
    torch.save(content, "hostile.pth", _use_new_zipfile_serialization=zipped)
    torch.load("hostile.pth", weights_only=False)
    (here / "ran").rmdir()  # so it runs where it is allowed to
    assert "exec, which an ordinary load would run" in refusal(Path("hostile.pth"))
    Path("hostile.pth").write_bytes(pickle.dumps(content, protocol=2))
    refusal(Path("hostile.pth"))
    assert not (here / "ran").exists()


def test_settings_of_every_plain_kind_are_read(monkeypatch):
    class CfgNode(dict):
        """As yacs makes it: a dict with attributes of its own."""

    yacs = types.ModuleType("yacs.config")
    yacs.CfgNode, CfgNode.__module__, CfgNode.__qualname__ = CfgNode, "yacs.config", "CfgNode"
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", yacs)
    node = CfgNode(NAME="evit_x")
    node.__dict__["__immutable__"] = True
    values = {
        "Model": node, "rate": np.float64(0.5), "count": np.int64(3), "out": Path("results/x"), 5: "five",
        "device": torch.device("cpu"), "betas": (0.9, 0.999), "nested": types.SimpleNamespace(depth=12), "none": None,
        "weights": torch.ones(3),
    }  # fmt: skip
    checkpoint = read_checkpoint(saved({"model": WEIGHTS, "config": values}, Path("x.pth")))
    assert checkpoint.section == "config" and checkpoint.recorded == {
        "model.name": "evit_x", "rate": 0.5, "count": 3, "out": "results/x", "5": "five", "device": "cpu",
        "betas": [0.9, 0.999], "nested.depth": 12, "none": None, "weights": None,
    }  # fmt: skip
    smuggled = {"model": WEIGHTS, "args": argparse.Namespace(model=pickle.Unpickler)}
    assert "pickle.Unpickler" in refusal(saved(smuggled, Path("x.pth")))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ([1, 2], "list"),
        ({}, "nothing"),
        ({"model": {}, "epoch": 3}, "model, epoch"),
        ({"model": {"a": 1.0}}, "expected weights"),
        ({"format": 1, "config": {}, "class_names": [], "state_dict": {}}, "ours already"),
    ],
)
def test_what_is_no_published_checkpoint(content, part):
    assert part in refusal(saved(content, Path("x.pth")))


def test_damaged_and_foreign_files():
    whole = saved(first_release("none-nocache-linear"), Path("whole.pth")).read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 10):
        Path("cut.pth").write_bytes(whole[:size])
        assert "checkpoint=cut.pth: cannot be read" in refusal(Path("cut.pth"))
    Path("pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in refusal(Path("pointer.pth"))
    assert "no such file" in refusal(Path("nowhere.pth"))
    averages = {"model": WEIGHTS, "model_ema": WEIGHTS}, {"model": WEIGHTS, "ema_best": True}
    for content, name in zip(averages, ("model_ema", "ema_best"), strict=True):
        assert name in read_checkpoint(saved(content, Path("average.pth"))).notes[0]
    for shapes in ({"fc.weight": (2, 2)}, {**{name: (4,) for name in WEIGHTS}, "patch_embed.proj.weight": (4,)}):
        with pytest.raises(UserError, match="the weights"):
            measure(shapes)


def test_from_a_published_file_to_its_accuracy(here, run_ufgir):
    make_data(here / "data")
    content = first_release(CLCA, num_classes=4)
    content["model"] = with_classes(content["model"], 4)
    converted(content)
    tested = run_ufgir("evaluate", "checkpoint=ours.pt", "dataset=csv", "dataset.root=data")
    assert tested.code == 0, tested.err
