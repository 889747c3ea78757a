"""The procedural leaves: same specification, same bytes; the split format; hard for nearest neighbours."""

import dataclasses
import sys
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ufgir.data import load_splits
from ufgir.data.leaves import LeavesSpec, class_names, folder, image, render, tables

SMALL = LeavesSpec(classes=3, train=2, val=1, test=1, size=64, seed=7)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    return render(SMALL, tmp_path_factory.mktemp("leaves"), progress=False)


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_bytes_depend_on_seed_class_and_number_only(rendered, tmp_path):
    same = render(SMALL, tmp_path, progress=False)
    assert contents(same) == contents(rendered)
    larger = render(LeavesSpec(classes=4, train=3, val=2, test=2, size=64, seed=7), tmp_path, progress=False)
    earlier, now = contents(rendered / "images"), contents(larger / "images")
    assert len(now) == 28 and earlier.items() <= now.items()
    other = render(dataclasses.replace(SMALL, seed=8), tmp_path, progress=False)
    assert not set(contents(other / "images").values()) & set(earlier.values())


def test_the_folder_holds_what_tables_and_class_names_say(rendered):
    splits = load_splits(rendered, protocol="holdout")
    for split, table in tables(SMALL).items():
        pd.testing.assert_frame_equal(splits.tables[split], table, check_dtype=False)
    assert splits.class_names == class_names(SMALL)
    assert set(contents(rendered / "images")) == {path for table in splits.tables.values() for path in table["dir"]}
    assert len(set(class_names(LeavesSpec(classes=600)))) == 600


def test_a_second_call_renders_nothing_and_a_failed_one_leaves_nothing(tmp_path, capsys, monkeypatch):
    where = render(SMALL, tmp_path)
    assert str(where) in capsys.readouterr().err and where == folder(SMALL, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in where.rglob("*")}
    monkeypatch.setattr(sys.modules[LeavesSpec.__module__], "write_tables", Mock(side_effect=OSError("disk full")))
    assert render(SMALL, tmp_path) == where
    assert {path: path.stat().st_mtime_ns for path in where.rglob("*")} == before
    with pytest.raises(OSError, match="disk full"):
        render(dataclasses.replace(SMALL, seed=8), tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == [where]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nearest_neighbours_stay_below_twice_chance(tmp_path, seed):
    """By thumbnails of 24x24 grey pixels and by mean colours."""
    spec = LeavesSpec(seed=seed)
    images, found = render(spec, tmp_path, progress=False) / "images", tables(spec)

    def features(table, side, mode):
        pictures = [
            Image.open(images / path).convert(mode).resize((side, side), Image.Resampling.BOX) for path in table["dir"]
        ]
        return np.stack([np.asarray(picture, dtype=float).ravel() for picture in pictures])

    for side, mode in ((24, "L"), (1, "RGB")):
        known, asked = (features(found[split], side, mode) for split in ("train_val", "test"))
        nearest = np.square(known[None] - asked[:, None]).sum(-1).argmin(1)
        labels = found["train_val"]["class_id"].to_numpy()[nearest]
        assert (labels == found["test"]["class_id"].to_numpy()).mean() < 2 / spec.classes


def test_the_first_leaf_is_the_published_one():
    expected = [[217, 198, 184, 222], [176, 135, 138, 183], [164, 152, 135, 190], [217, 202, 185, 210]]
    pixels = np.asarray(image(LeavesSpec(), 0, "train", 0), dtype=float)
    thumbnail = pixels.reshape(4, 64, 4, 64, 3).mean((1, 3, 4)).round().astype(int)
    assert np.abs(thumbnail - np.array(expected)).max() <= 1  # another numpy or pillow may round otherwise
