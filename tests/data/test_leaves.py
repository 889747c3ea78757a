"""The procedural leaves: same specification, same bytes; the split format; hard for nearest neighbours."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ufgir.data.leaves import LeavesSpec, baselines, class_names, contact_sheet, folder, render, tables
from ufgir.data.tables import read_class_names, read_tables

SMALL = LeavesSpec(classes=3, train=2, val=1, test=1, size=64, seed=7)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    return render(SMALL, tmp_path_factory.mktemp("leaves"), progress=False)


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_same_specification_gives_the_same_bytes(rendered, tmp_path):
    assert contents(render(SMALL, tmp_path, progress=False)) == contents(rendered)


def test_another_seed_gives_other_images(rendered, tmp_path):
    other = render(dataclasses.replace(SMALL, seed=8), tmp_path, progress=False)
    assert not set(contents(other / "images").values()) & set(contents(rendered / "images").values())


@pytest.mark.parametrize("count", ["classes", "train", "val", "test"])
def test_larger_counts_leave_the_earlier_images_as_they_are(rendered, tmp_path, count):
    larger = render(dataclasses.replace(SMALL, **{count: getattr(SMALL, count) + 1}), tmp_path, progress=False)
    earlier, now = contents(rendered / "images"), contents(larger / "images")
    assert len(now) > len(earlier)
    assert earlier.items() <= now.items()


def test_the_folder_holds_what_tables_and_class_names_say(rendered):
    found, faults = read_tables(rendered)
    assert faults == []
    expected = tables(SMALL)
    assert list(found) == ["train", "val", "train_val", "test"]
    for split, table in found.items():
        pd.testing.assert_frame_equal(table, expected[split], check_dtype=False)
    assert read_class_names(rendered, found) == (class_names(SMALL), [])


def test_counts_and_ids():
    found = tables(LeavesSpec(classes=5, train=3, val=2, test=4))
    counts = {split: len(table) for split, table in found.items()}
    assert counts == {"train": 15, "val": 10, "train_val": 25, "test": 20}
    for table in found.values():
        assert sorted(set(table["class_id"])) == [0, 1, 2, 3, 4]
    assert set(found["train_val"]["dir"]) == set(found["train"]["dir"]) | set(found["val"]["dir"])
    assert not set(found["train_val"]["dir"]) & set(found["test"]["dir"])


def test_every_image_is_rgb_of_the_asked_size_and_no_other_is_there(rendered):
    listed = {path for table in tables(SMALL).values() for path in table["dir"]}
    assert set(contents(rendered / "images")) == listed
    for path in listed:
        with Image.open(rendered / "images" / path) as picture:
            assert (picture.mode, picture.size) == ("RGB", (64, 64))


def test_a_picture_shows_a_green_leaf_on_a_paler_table(rendered):
    for path in contents(rendered / "images"):
        with Image.open(rendered / "images" / path) as picture:
            red, green, blue = np.asarray(picture, dtype=float)[22:42, 22:42].mean(axis=(0, 1))
        assert green > red and green > blue


def test_a_second_call_renders_nothing(rendered):
    before = {path: path.stat().st_mtime_ns for path in rendered.rglob("*")}
    assert render(SMALL, rendered.parent, progress=False) == rendered == folder(SMALL, rendered.parent)
    assert {path: path.stat().st_mtime_ns for path in rendered.rglob("*")} == before


def test_a_failed_render_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_args):
        raise OSError("disk full")

    monkeypatch.setattr(sys.modules[LeavesSpec.__module__], "write_tables", fail)
    with pytest.raises(OSError, match="disk full"):
        render(SMALL, tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_render_leaves_no_folder_under_the_final_name(tmp_path):
    spec = "LeavesSpec(classes=20, train=9, val=9, test=9, size=64)"
    code = f"from ufgir.data.leaves import *; render({spec}, {str(tmp_path)!r}, progress=False)"
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.jpg")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not folder(LeavesSpec(classes=20, train=9, val=9, test=9, size=64), tmp_path).exists()


def test_away_from_a_terminal_one_line_tells_what_is_rendered(tmp_path, capsys):
    where = render(LeavesSpec(classes=1, train=1, val=1, test=1, size=32), tmp_path)
    assert capsys.readouterr().err == f"rendering 3 leaves of 1 cultivars into {where}\n"


def test_cultivar_names_are_unique():
    names = class_names(LeavesSpec(classes=600))
    assert len(set(names)) == 600


def test_baselines_find_what_is_there_to_find(tmp_path):
    """Two classes told apart by thumbnail or by colour, then by neither."""
    for name, colour in {"a0": "red", "a1": "red", "b0": "blue", "b1": "blue"}.items():
        Image.new("RGB", (30, 30), colour).save(tmp_path / f"{name}.png")
    frame = {split: pd.DataFrame({"class_id": [0, 1], "dir": [f"a{i}.png", f"b{i}.png"]})
             for i, split in enumerate(("train_val", "test"))}
    perfect = {"thumbnail_nn_top1": 100.0, "mean_colour_nn_top1": 100.0, "chance": 50.0}
    assert baselines(frame, tmp_path) == perfect
    frame["test"]["class_id"] = [1, 0]
    assert baselines(frame, tmp_path) == {**perfect, "thumbnail_nn_top1": 0.0, "mean_colour_nn_top1": 0.0}


def test_contact_sheet_has_a_row_for_each_class_and_a_column_for_each_image(rendered, tmp_path):
    path = tmp_path / "sheet.png"
    contact_sheet(tables(SMALL), rendered / "images", class_names(SMALL), path, classes=2, per_class=3, side=40)
    with Image.open(path) as sheet:
        assert sheet.height == 2 * 43 - 3
        pictures = np.asarray(sheet.convert("L"))[:, -3 * 43 :]
    for column in range(3):
        assert pictures[:, 43 * column : 43 * column + 40].std() > 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nearest_neighbours_stay_below_twice_chance(tmp_path, seed):
    spec = LeavesSpec(seed=seed)
    scores = baselines(tables(spec), render(spec, tmp_path, progress=False) / "images")
    assert max(scores["thumbnail_nn_top1"], scores["mean_colour_nn_top1"]) < 2 * scores["chance"]
