"""`python -m ufgir.evaluate`: what it writes, other keep rates and sizes, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from tiny import make_data, make_run
from ufgir.data.images import load_image
from ufgir.errors import UserError
from ufgir.evaluate import Options, default_file, main
from ufgir.inference.evaluate import (
    batch_norms,
    class_table,
    configs_of,
    confusions,
    curve_figure,
    matrix_figure,
    recalibrate,
)
from ufgir.training.trained import load

ROOT = "dataset.root=da,ta (1)"


@pytest.fixture
def data(here) -> Path:
    """The data set under a name that Hydra takes."""
    Path("data").symlink_to("da,ta (1)")
    return Path("data")


def refusal(*arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        main([*arguments])
    return str(caught.value)


def read(file: str) -> dict:
    return json.loads(Path(file).read_text())


def test_the_test_numbers_again_with_tables_and_pictures(here, capsys):
    assert main(["run=run", ROOT, "out=mine.json"]) == 0
    assert capsys.readouterr().out.endswith("evaluation: mine.json\n")
    numbers, results = read("mine.json"), read("run/results.json")
    for name in ("test_top1", "test_top5", "test_loss", "test_images", "gmacs", "weights_sha256"):
        assert numbers[name] == results[name], name
    images, classes, pairs = (pd.read_csv(f"mine/{name}.csv") for name in ("predictions", "classes", "confusions"))
    assert list(images)[:5] == ["path", "class", "correct", "top1", "probability1"] and list(images)[-2] == "top4"
    pd.testing.assert_frame_equal(images.iloc[:, 1:], pd.read_csv("run/predictions.csv").iloc[:, 1:])
    assert len(images) == 8 and all(Path(path).is_file() for path in images["path"])
    assert (images["correct"] == (images["class"] == images["top1"])).all()
    assert 100 * images["correct"].mean() == numbers["test_top1"]
    assert classes["class"].tolist() == ["kind_0", "kind_1", "kind_2", "kind_3"]
    assert classes["images"].sum() == 8 and classes["correct"].sum() == images["correct"].sum()
    wrong = images[~images["correct"]].groupby(["class", "top1"]).size()
    assert {(row["class"], row["taken_for"]): row["times"] for _, row in pairs.iterrows()} == wrong.to_dict()
    for name in ("confusions", "confusion_matrix"):
        assert load_image(Path(f"mine/{name}.png")).width > 700


def test_macro_f1_and_calibration_error(here):
    main(["run=run", ROOT, "out=mine.json"])
    numbers, images = read("mine.json"), pd.read_csv("mine/predictions.csv")
    f1 = []
    for name in set(images["class"]) | set(images["top1"]):
        both = ((images["class"] == name) & (images["top1"] == name)).sum()
        f1.append(2 * both / ((images["class"] == name).sum() + (images["top1"] == name).sum()))
    assert numbers["test_f1"] == pytest.approx(100 * np.mean(f1), abs=1e-3)
    bins = np.ceil(images["probability1"] * 15).groupby(np.ceil(images["probability1"] * 15)).groups
    gaps = [abs((images.loc[rows, "correct"] - images.loc[rows, "probability1"]).sum()) for rows in bins.values()]
    assert numbers["test_ece"] == pytest.approx(100 * sum(gaps) / len(images), abs=1e-3)


def test_a_class_without_images_and_the_order_of_confusions():
    rows = [("a", 0, 1, 0.9), ("b", 0, 1, 0.7), ("c", 0, 2, 0.5), ("d", 2, 0, 0.6), ("e", 2, 2, 0.8)]
    images = pd.DataFrame(rows, columns=["path", "class_id", "predicted", "confidence"])
    images["correct"] = images["class_id"] == images["predicted"]
    classes = class_table(images, ["x", "y", "z"]).astype(object).where(lambda frame: frame.notna(), None)
    assert classes.to_numpy().tolist() == [["x", 3, 0, 0, "y", 2], ["y", 0, 0, None, None, 0], ["z", 2, 1, 50, "x", 1]]
    pairs = confusions(images)[["class_id", "predicted", "times", "images"]]
    assert pairs.to_numpy().tolist() == [[0, 1, 2, 3], [2, 0, 1, 2], [0, 2, 1, 3]]


def test_the_keep_rate_curve(here, capsys):
    assert main(["run=run", ROOT, "keep_rate=1.0,0.1,[0.7,0.5,0.3],0.5", "recalibrate=true", "out=curve.json"]) == 0
    assert "keep rate 0.7 0.5 0.3, recalibrated: top-1 " in capsys.readouterr().out
    table = pd.read_csv("curve/keep_rates.csv", dtype={"keep_rate": str})
    plain = table[~table["recalibrated"]].set_index("keep_rate")
    assert plain.index.tolist() == ["0.1", "0.5", "0.7 0.5 0.3", "1"] and table["gmacs"].is_monotonic_increasing
    results, content = read("run/results.json"), read("curve.json")
    for name in ("test_top1", "test_loss", "gmacs"):
        assert plain.loc["0.5", name] == results[name]
    assert table["test_loss"].nunique() == 8
    assert content["trained_keep_rate"] == 0.5 and len(content["points"]) == 8
    assert {point["weights_sha256"] for point in content["points"]} == {results["weights_sha256"]}
    assert load_image(Path("curve/keep_rates.png")).width > 900
    assert "<svg" in Path("curve/keep_rates.svg").read_text()


def test_recalibration_computes_the_statistics_of_the_training_images(here):
    trained = load("run")
    configs = configs_of(trained, keep_rates=[0.25, 1.0], batch_size=4)
    model, other = map(trained.build, configs)
    seen, (first, _) = [], batch_norms(model)
    before = [norm.running_mean.clone() for norm in batch_norms(other)]
    for norm, momentum in zip(batch_norms(model), (0.1, 0.2), strict=True):
        norm.momentum = momentum
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    paths = sorted(Path("da,ta (1)/images").rglob("train_*.png"))
    recalibrate(model, configs[0], paths)
    assert [len(batch) for batch in seen] == [4, 4, 4]
    torch.testing.assert_close(first.running_mean, torch.cat(seen).mean(dim=(0, 2)))
    torch.testing.assert_close(first.running_var, torch.stack([batch.var(dim=(0, 2)) for batch in seen]).mean(dim=0))
    assert not any(module.training for module in model.modules())
    assert [norm.momentum for norm in batch_norms(model)] == [0.1, 0.2]
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(batch_norms(other), before, strict=True))


def test_validation_numbers_are_named_so(here):
    assert main(["checkpoint=run/model.pt", ROOT, "protocol=val", "out=."]) == 0
    numbers = read("evaluation.json")
    assert numbers["val_images"] == 4 and {"val_top1", "val_f1", "val_ece"} <= set(numbers)
    assert not [name for name in numbers if name.startswith("test_")]


@pytest.mark.parametrize(
    ("overrides", "images"), [(["protocol=holdout"], 8), (["protocol=cv", "fold=1", "folds=3"], 8)]
)
def test_other_protocols_are_tested_on_their_test_images(data, overrides, images):
    make_run(Path("other"), data, *overrides)
    assert main(["run=other"]) == 0
    numbers = read("other/evaluation.json")
    assert numbers["test_images"] == images and "val_top1" not in numbers


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "evaluation.json"),
        ({"dataset.root": "moved"}, "evaluation.json"),
        ({"dataset": "csv", "dataset.root": "other"}, "evaluation-other.json"),
        ({"dataset": "csv"}, "evaluation-csv.json"),
        ({"protocol": "val", "keep_rate": ["0.1"]}, "evaluation-val-keep_rate_0.1.json"),
        ({"keep_rate": ["[0.7,0.5,0.3]"], "image_size": 64}, "evaluation-keep_rate_0.7_0.5_0.3-image_size_64.json"),
        ({"keep_rate": ["0.1,0.5"], "recalibrate": True}, "evaluation-keep_rates-recalibrated.json"),
    ],
)
def test_the_options_that_make_another_test_are_in_the_name(tmp_path, given, name):
    assert default_file(tmp_path, Options(run="run", **given)) == tmp_path / name


def test_another_size_resamples_as_timm_does(here):
    trained = load("run")
    (config,) = configs_of(trained, image_size=48)
    assert config.dataset.arguments()["resize"] == int(48 / 0.875)
    bigger = trained.build(config)
    timms = VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=12, num_heads=2, num_classes=4)
    timms.load_state_dict({name: trained.state_dict.get(name, value) for name, value in timms.state_dict().items()})
    timms.set_input_size(img_size=(48, 48))
    assert torch.equal(bigger.pos_embed, timms.pos_embed)
    assert bigger.eval()(torch.zeros(1, 3, 48, 48)).shape == (1, 4)


@pytest.mark.parametrize(
    ("trained", "arguments", "parts"),
    [
        (["reducer=sit"], ["keep_rate=0.1,0.5"], ["keep_rate=0.1", "reducer=sit", "(1, 32)"]),
        (["reducer=patchmerger"], ["image_size=64"], ["image_size=64", "reducer=patchmerger"]),
        (["reducer=none", "keep_rate=1.0"], ["keep_rate=0.5"], ["keep_rate=0.5", "reducer=none"]),
        (["plugins=base"], ["recalibrate=true"], ["recalibrate=true", "cla"]),
    ],
)
def test_what_the_weights_cannot_do(data, trained, arguments, parts):
    make_run(Path("other"), data, *trained)
    message = refusal("run=other", *arguments)
    assert all(part in message for part in parts), message
    assert not list(Path("other").glob("evaluation*"))


def test_errors_are_reported_together_and_leave_nothing(here):
    before = sorted(here.iterdir())
    message = refusal("run=run", "keep_rate=1.5,[0.5,0.3]", "image_size=36", "dataset.resize=24")
    for part in ("keep_rate=1.5", "keep_rate=[0.5,0.3]", "image_size=36", "dataset.resize=24"):
        assert part in message
    assert "Did you mean 'keep_rate'" in refusal("run=run", "keep_rat=0.1")
    message = refusal("run=run", "protocol=tset", "batch_size=0", "keep_rate=half")
    assert all(part in message for part in ("protocol=tset", "batch_size=0", "half"))
    assert "dataset.root" in refusal("run=run"), "the data have moved"
    assert sorted(here.iterdir()) == before


def test_data_with_other_classes(here):
    make_data(Path("fewer"))
    for file in Path("fewer").glob("*.csv"):
        lines = file.read_text().splitlines()
        file.write_text("\n".join(line for line in lines if not line.startswith("3,")) + "\n")
    message = refusal("run=run", "dataset=csv", "dataset.root=fewer")
    assert "3 classes" in message and "4" in message


def test_places_that_cannot_be_written_to(here):
    Path("taken").write_text("")
    for out in ("taken/x.json", "nowhere/x.json", "taken.json", "x.csv", "~no-such-user/x.json", "x" * 300):
        assert f"out={out}" in refusal("run=run", ROOT, f"out={out}")
    assert {path.name for path in here.iterdir()} == {"da,ta (1)", "run", "taken"}


def test_pictures_of_few_and_of_many_classes():
    for count in (3, 40, 300):
        matrix = np.diag(np.arange(count))
        (axis, _) = matrix_figure(matrix, [f"kind $_{number}" for number in range(count)], "data").axes
        shown = np.asarray(axis.images[0].get_array())
        assert np.isnan(shown[0]).all() and np.diag(shown)[1:].tolist() == [100] * (count - 1)
        assert len(axis.texts) == (count - 1 if count <= 30 else 0)
    table = pd.DataFrame({"keep_rate": ["0.1", "0.5"], "gmacs": [1.0, 2.0], "val_top1": [30.0, 50.0]})
    (axis,) = curve_figure(table, "0.5", "title", 4).axes
    assert "validation" in axis.get_ylabel() and [text.get_text() for text in axis.texts] == ["0.1", "0.5"]
