"""`python -m ufgir.evaluate`: what it writes, other keep rates and sizes, and what it refuses."""

import copy
import errno
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

import ufgir.evaluate
from tiny import make_data, make_run
from ufgir.cli import run_command
from ufgir.data.images import load_image
from ufgir.errors import UserError
from ufgir.evaluate import evaluate
from ufgir.evaluation.places import usual_place
from ufgir.evaluation.tables import by_class, mix_ups
from ufgir.runs.trained import find_trained


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set in `data` and a finished run in `run`."""
    folder = tmp_path_factory.mktemp("evaluate")
    make_run(folder / "run", make_data(folder / "data"))
    return folder


@pytest.fixture
def here(folder, tmp_path, monkeypatch):
    """That run and its data as `run` and `data` of an empty working folder."""
    monkeypatch.setenv("UFGIR_CACHE", str(folder / ".cache"))
    monkeypatch.chdir(tmp_path)
    Path("data").symlink_to(folder / "data")
    Path("run").symlink_to(folder / "run")
    return tmp_path


def refusal(*words):
    with pytest.raises(UserError) as caught:
        evaluate([*words])
    return str(caught.value)


def test_images_classes_and_mix_ups_add_up(here, capsys):
    assert evaluate(["run=run", "out=mine.json"]) == 0
    assert capsys.readouterr().out.endswith("evaluation: mine.json\n")
    figures = json.loads(Path("mine.json").read_text())
    names = {path.name for path in Path("mine").iterdir()}
    assert names == {"predictions.csv", "classes.csv", "confusions.csv", "confusions.png"}
    images, classes, pairs = (pd.read_csv(f"mine/{name}.csv") for name in ("predictions", "classes", "confusions"))
    assert list(images)[:5] == ["path", "class", "correct", "top1", "probability1"] and list(images)[-2] == "top4"
    assert len(images) == 8 and all(Path(path).is_file() for path in images["path"])
    assert (images["correct"] == (images["class"] == images["top1"])).all()
    assert 100 * images["correct"].mean() == figures["test_top1"]
    assert classes["class"].tolist() == ["kind_0", "kind_1", "kind_2", "kind_3"]
    assert classes["images"].sum() == 8 and classes["correct"].sum() == images["correct"].sum()
    wrong = images[~images["correct"]].groupby(["class", "top1"]).size()
    assert {(row["class"], row.taken_for): row.times for _, row in pairs.iterrows()} == wrong.to_dict()
    assert pairs["times"].is_monotonic_decreasing
    width, height = load_image(Path("mine/confusions.png")).size
    assert width > 900 and height == 64 + 216 * len(pairs)


def test_a_class_without_test_images_and_an_order_of_mix_ups():
    rows = [("a", 0, 1, 0.9), ("b", 0, 1, 0.7), ("c", 0, 2, 0.5), ("d", 2, 0, 0.6), ("e", 2, 2, 0.8)]
    images = pd.DataFrame(rows, columns=["path", "class_id", "taken_for", "sureness"])
    images["correct"] = images["class_id"] == images["taken_for"]
    classes = by_class(images, ["x", "y", "z"]).astype(object).where(lambda frame: frame.notna(), None)
    assert classes.to_numpy().tolist() == [
        ["x", 3, 0, 0, "y", 2], ["y", 0, 0, None, None, 0], ["z", 2, 1, 50, "x", 1],
    ]  # fmt: skip
    pairs = mix_ups(images)[["class_id", "taken_for", "times", "images"]]
    assert pairs.to_numpy().tolist() == [[0, 1, 2, 3], [2, 0, 1, 2], [0, 2, 1, 3]]


def test_the_curve_of_keep_rates(here, capsys):
    assert evaluate(["run=run", "out=own.json"]) == 0
    assert evaluate(["run=run", "keep_rate=1.0,0.1,[0.7,0.5,0.3],0.5", "out=curve.json"]) == 0
    assert "keep rate 0.7 0.5 0.3: top-1 " in capsys.readouterr().out
    table = pd.read_csv("curve/keep_rates.csv", dtype={"keep_rate": str}).set_index("keep_rate")
    assert table.index.tolist() == ["0.1", "0.5", "0.7 0.5 0.3", "1"] and table["gmacs"].is_monotonic_increasing
    own, content = (json.loads(Path(name).read_text()) for name in ("own.json", "curve.json"))
    for name in ("test_top1", "test_loss", "gmacs"):
        assert table.loc["0.5", name] == own[name]
    assert table["test_loss"].nunique() == 4
    assert content["trained_keep_rate"] == 0.5 and len(content["points"]) == 4
    assert {point["weights_sha256"] for point in content["points"]} == {own["weights_sha256"]}
    assert load_image(Path("curve/keep_rates.png")).width > 900
    assert "<svg" in Path("curve/keep_rates.svg").read_text()


def test_what_differs_is_in_the_name(here):
    assert evaluate(["checkpoint=run/model.pt", "keep_rate=[0.7,0.5,0.3]", "image_size=64"]) == 0
    file = Path("run/evaluation-keep_rate_0.7_0.5_0.3-image_size_64.json")
    figures = json.loads(file.read_text())
    assert (figures["keep_rate"], figures["image_size"]) == ([0.7, 0.5, 0.3], 64)
    assert file.with_suffix("").is_dir()
    assert evaluate(["run=run", "keep_rate=0.5", "image_size=32", "out=."]) == 0
    assert json.loads(Path("evaluation.json").read_text())["image_size"] == 32 and Path("evaluation").is_dir()


@pytest.mark.parametrize(
    ("names_data", "changes", "name"),
    [
        (False, {}, "evaluation.json"),
        (False, {"dataset": {"name": "tiny", "root": "moved"}}, "evaluation.json"),
        (True, {"dataset": {"name": "tiny", "root": "data"}}, "evaluation.json"),
        (True, {"dataset": {"name": "tiny", "root": "other"}}, "evaluation-other.json"),
        (True, {"dataset": {"name": "wild", "root": "data"}, "image_size": 64}, "evaluation-wild-image_size_64.json"),
        (False, {"protocol": "val", "keep_rate": 0.1}, "evaluation-val-keep_rate_0.1.json"),
    ],
)
def test_other_data_leave_the_evaluation_of_the_run_alone(tmp_path, names_data, changes, name):
    trained = {"image_size": 32, "keep_rate": 0.5, "protocol": "test", "dataset": {"name": "tiny", "root": "data"}}
    (tmp_path / "results.json").touch()
    assert usual_place(tmp_path, trained, [trained | changes], names_data=names_data).json == tmp_path / name


def test_weights_outside_of_a_run_are_tested_on_whatever_is_named(tmp_path):
    trained = {"image_size": 32, "keep_rate": 0.5, "protocol": "test", "dataset": {"name": "tiny", "root": "data"}}
    other = trained | {"dataset": {"name": "wild", "root": "elsewhere"}}
    assert usual_place(tmp_path, trained, [other], names_data=True).json == tmp_path / "evaluation.json"


def test_another_size_resamples_as_timm_does(here):
    trained = find_trained({"run": "run"})
    bigger = trained.build({**trained.config, "image_size": 48})
    timms = VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=12, num_heads=2, num_classes=4)
    timms.load_state_dict({name: trained.state_dict.get(name, value) for name, value in timms.state_dict().items()})
    timms.set_input_size(img_size=(48, 48))
    assert torch.equal(bigger.pos_embed, timms.pos_embed)
    assert bigger.eval()(torch.zeros(1, 3, 48, 48)).shape == (1, 4)


@pytest.mark.filterwarnings("ignore:reducer=tome merges pairs")
@pytest.mark.parametrize("reducer", ["dyvit", "dpcknn", "tome"])
def test_reducers_that_serve_every_keep_rate(here, reducer):
    make_run(Path("other"), here / "data", f"reducer={reducer}")
    trained = find_trained({"run": "other"})
    for rate in (0.3, 1.0, [1.0, 0.5, 0.3]):
        model = trained.build({**trained.config, "keep_rate": rate, "image_size": 48})
        assert model.eval()(torch.zeros(1, 3, 48, 48)).shape == (1, 4)


@pytest.mark.parametrize(
    ("trained", "words", "parts"),
    [
        (["reducer=sit"], ["keep_rate=0.1,0.5"], ["keep_rate=0.1: reducer=sit cannot be moved", "(8, 32), (1, 32)"]),
        (["reducer=patchmerger"], ["image_size=64"], ["image_size=64: reducer=patchmerger", "Train a run with image"]),
        (["reducer=dyvit", "keep_rate=[1.0,0.5,0.5]"], ["keep_rate=0.5"], ["no parameters for block 3, which kept"]),
        (["reducer=none", "keep_rate=1.0"], ["keep_rate=0.5"], ["trained with reducer=none, which keeps every token"]),
    ],
)  # fmt: skip
def test_what_a_reducer_cannot_do_is_refused_by_name(here, trained, words, parts):
    make_run(Path("other"), here / "data", *trained)
    message = refusal("run=other", *words)
    assert all(part in message for part in parts), message
    assert not list(Path("other").glob("evaluation*"))


def test_all_faults_in_one_message(here):
    message = refusal("run=run", "keep_rate=1.5,[0.5,0.5]", "image_size=36", "dataset.resize=24", "protocol=tset")
    for part in ("keep_rate=1.5: expected", "2 rates for the 3 layers", "expected a multiple of 8", "protocol=test?"):
        assert message.count(part) == 1, message
    assert "image_size=32,64: expected one size" in refusal("run=run", "image_size=32,64")
    assert "Did you mean keep_rate?" in refusal("run=run", "keep_rat=0.1")


def test_places_that_cannot_be_written_to(here):
    Path("taken").write_text("")
    Path("mine").mkdir()
    assert "out=taken/x.json: there is no folder taken" in refusal("run=run", "out=taken/x.json")
    assert "tables and pictures go into taken, which is a file" in refusal("run=run", "out=taken.json")
    assert "out=x.csv: expected a file that ends in .json, or a folder" in refusal("run=run", "out=x.csv")
    if Path("/sys").is_dir():  # where not even the superuser may make a file
        assert "out=/sys/x.json cannot be written (" in refusal("run=run", "out=/sys/x.json")
    assert {path.name for path in here.iterdir()} == {"data", "run", "taken", "mine"}


def test_a_full_disk_costs_no_figures(here, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ufgir.evaluate, "write_predictions", full)
    assert run_command(evaluate, ["run=run", "out=mine.json"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("failed: out=mine.json cannot be written: No space left on device (")
    assert "test_top1" in printed.out
    assert not Path("mine.json").exists() and not list(Path("mine").iterdir())


def test_the_settings_of_the_training_stay_as_they_are(here):
    trained = find_trained({"run": "run"})
    before = copy.deepcopy(trained.config)
    trained.build({**trained.config, "keep_rate": 1.0})
    assert trained.config == before
