"""A data set is read as it is on disk, or refused with all its errors; each protocol takes its tables."""

import os
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ufgir.data import load_splits, write_splits
from ufgir.data.images import find_images
from ufgir.data.splits import cross_validation
from ufgir.errors import UfgirWarning, UserError


def errors_of(*args, **kwargs) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_splits(*args, **kwargs)
    return caught.value.messages


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("protocol", "counts"),
    [
        ("test", {"train": 9, "test": 3}),
        ("val", {"train": 6, "val": 3}),
        ("holdout", {"train": 6, "val": 3, "test": 3}),
    ],
)
def test_protocol_chooses_the_tables(csv_set, protocol, counts):
    splits = load_splits(csv_set, protocol=protocol)
    assert {role: len(table) for role, table in splits.roles.items()} == counts
    assert splits.num_classes == 3
    assert all(path.is_file() for table in splits.roles.values() for path in splits.paths(table))


def test_digest_depends_on_the_contents_in_use_only(csv_set, tmp_path):
    shutil.copytree(csv_set, tmp_path / "copy")
    digests = [
        load_splits(root, protocol=protocol).digest
        for protocol in ("test", "val", "holdout")
        for root in (csv_set, tmp_path / "copy")
    ]
    assert len(set(digests)) == 3 and digests[::2] == digests[1::2] and len(digests[0]) == 64
    edit(csv_set / "val.csv", "1_oak/val_0", "1_oak/val_1")
    assert load_splits(csv_set, protocol="test").digest == digests[0]
    assert load_splits(csv_set, protocol="val").digest != digests[2]


def test_class_names_from_the_file_the_folders_or_the_ids(csv_set):
    names = csv_set / "classid_classname.csv"
    names.write_text('class_id,class_name\n1,beech\n0,NA\n2,"lime, small"\n')
    assert load_splits(csv_set).class_names == ["NA", "beech", "lime, small"]
    names.write_text("class_id,class_name\n0,oak\n2,lime\n")
    assert str(names) in errors_of(csv_set)[0] and "class 1" in errors_of(csv_set)[0]
    names.unlink()
    assert load_splits(csv_set).class_names == ["0_oak", "1_oak", "2_oak"]
    for table in csv_set.glob("*.csv"):
        table.write_text(table.read_text().replace("1_oak/", "0_oak/other_"))
    assert load_splits(csv_set).class_names == ["class_0", "class_1", "class_2"]


def test_spreadsheet_csv_with_byte_order_mark_crlf_and_more_columns(csv_set):
    rows = (csv_set / "test.csv").read_text().splitlines()
    lines = [f"{row},{extra}" for row, extra in zip(rows, ["note", 1, 2, 3], strict=True)]
    (csv_set / "test.csv").write_bytes(("\ufeff" + "\r\n".join(lines) + "\r\n\r\n").encode())
    assert load_splits(csv_set).test["dir"].tolist() == ["0_oak/test_0.png", "1_oak/test_0.png", "2_oak/test_0.png"]


@pytest.mark.parametrize(
    ("table", "old", "new", "parts"),
    [
        ("test", "class_id,dir", "label,dir", ["test.csv", "class_id", "'label,dir'"]),
        ("test", "1,1_oak", "one,1_oak", ["test.csv", "class_id", "line 3 ('one')"]),
        ("test", "1,1_oak/test_0.png", "1,", ["test.csv", "dir", "line 3"]),
        ("test", "1,1_oak", "-1,1_oak", ["class_id", "-1 in test.csv (1_oak/test_0.png)"]),
        ("test", "1,1_oak/test", "5,1_oak/test", ["go up to 5", "class 3, 4"]),
        ("test", "0_oak/", "../0_oak/", ["below the image folder", "../0_oak/test_0.png in test.csv"]),
        ("test", "0_oak/test_0", "./0_oak/train_1", ["train_val.csv and test.csv", "0_oak/train_1.png", "Remove"]),
        ("val", "0_oak/val_0", "0_oak/train_1", ["train.csv and val.csv", "0_oak/train_1.png", "Remove"]),
        ("train_val", "1,1_oak/train_1", "2,1_oak/train_0", ["one class", "1_oak/train_0.png (classes 1, 2)"]),
    ],
)
def test_error_in_a_table_is_named(csv_set, table, old, new, parts):
    edit(csv_set / f"{table}.csv", old, new)
    assert any(all(part in error for part in parts) for error in errors_of(csv_set))


def test_classes_that_start_at_one_are_untrained_or_alone(csv_set):
    tables = {table: table.read_text().splitlines(keepends=True) for table in csv_set.glob("*.csv")}
    for table, (header, *rows) in tables.items():
        table.write_text(header + "".join(f"{int(row[0]) + 1}{row[1:]}" for row in rows))
    assert "subtract 1" in errors_of(csv_set)[0]
    for table, rows in tables.items():
        table.write_text("".join(row for row in rows if row[0] != "1" or table.stem != "train_val"))
    (error,) = errors_of(csv_set)
    assert "test.csv" in error and "train_val.csv has no image: 1" in error
    for table, rows in tables.items():
        table.write_text("".join(row for row in rows if row[0] in "c0"))
    assert "one class only" in errors_of(csv_set)[0]


def test_all_errors_at_once_and_ten_examples_of_each(csv_set):
    (csv_set / "train.csv").write_bytes(b"class_id,dir\n0,\xff\xfe\n")
    (csv_set / "val.csv").write_text("")
    (csv_set / "test.csv").write_text("class_id,dir\n" + "".join(f"x,{number}.png\n" for number in range(13)))
    train, val, test = errors_of(csv_set)
    assert "utf-8" in train and "val.csv" in val and "line 11 ('x') and 3 more" in test
    shutil.rmtree(csv_set / "images")
    assert "dataset.images=images" in errors_of(csv_set)[0]


def test_missing_tables_and_folders_tell_the_remedy(tmp_path, csv_set):
    (csv_set / "train_val.csv").unlink()
    (error,) = errors_of(csv_set)
    assert f"dataset.root={csv_set}" in error and "protocol=test" in error and "protocol=holdout" in error
    assert load_splits(csv_set, protocol="val").roles.keys() == {"train", "val"}
    (csv_set / "test.csv").unlink()
    assert "no train_val.csv and no test.csv" in errors_of(csv_set)[0]
    assert "dataset.root=DIR" in errors_of(None)[0] and "train_val.csv" in errors_of(None)[0]
    (error,) = errors_of(tmp_path / "no", name="cotton80", expected={"classes": 80})
    assert f"dataset.root={tmp_path}/no" in error and "ufgir.prepare raw=DIR out=DIR" in error
    assert "is not a folder" in errors_of(csv_set / "val.csv")[0]


def test_published_counts(csv_set):
    expected = {"classes": 4, "train": 6, "val": 3, "train_val": 9, "test": 5}
    (error,) = errors_of(csv_set, name="cotton80", expected=expected)
    assert "classes=3 instead of 4, test=3 instead of 5" in error and "dataset=csv" in error
    (csv_set / "train_val.csv").unlink()
    assert load_splits(csv_set, protocol="val", expected={**expected, "classes": 3, "test": 3}).num_classes == 3


def test_wrong_arguments_are_reported_together():
    errors = errors_of(None, format="cvs", protocol="holdut", train_images=0, val_fraction=1.0)
    parts = ("dataset.format=cvs", "protocol=holdut", "dataset.val_fraction=1.0", "dataset.train_images=0")
    assert all(error.startswith(part) for part, error in zip(parts, errors, strict=True))
    fractions, root = errors_of(None, val_fraction=0.5, test_fraction=0.5)
    assert "dataset.test_fraction=0.5" in fractions and "dataset.root" in root
    for fold, folds in ((5, 5), (0, 1)):
        assert f"fold={fold}" in errors_of(None, protocol="cv", fold=fold, folds=folds)[0]
    leaf = errors_of(None, format="leaves", render={"classes": 1, "size": 0})
    assert "dataset.render.classes=1" in leaf[0] and "dataset.render.size=0" in leaf[1]
    assert "clases" in errors_of(None, format="leaves", render={"clases": 3})[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train_images", 2.5),
        ("val_fraction", "high"),
        ("format", ["csv"]),
        ("groups", 3),
        ("images", 3),
        ("render", ["a"]),
        ("render.train", 2.5),
    ],
)
def test_arguments_of_another_type_are_refused(key, value):
    name, _, inner = key.partition(".")
    (error,) = errors_of(None, **{name: {inner: value} if inner else value})
    assert error.startswith(f"dataset.{key}={value}: expected ")


def test_train_images_are_spread_over_the_table(csv_set):
    assert load_splits(csv_set, train_images=3).train["dir"].tolist() == [
        "0_oak/train_0.png",
        "1_oak/train_1.png",
        "0_oak/val_0.png",
    ]
    assert len(load_splits(csv_set, train_images=99).train) == 9


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=2, max_size=6), st.integers(2, 7), st.integers(0, 100))
@pytest.mark.filterwarnings("ignore:folds=")
def test_folds_are_stratified_disjoint_and_cover_every_image_once(sizes, folds, seed):
    rows = [(class_id, f"{class_id}/{number}.png") for class_id, size in enumerate(sizes) for number in range(size)]
    table = pd.DataFrame(rows, columns=["class_id", "dir"])
    half = len(rows) // 2
    if folds > len(rows):
        return
    tables = {"train": table[:half], "val": table[half:], "train_val": table}  # train_val repeats the others
    parts = [cross_validation(tables, fold, folds, seed) for fold in range(folds)]
    tested = [set(test["dir"]) for _, test in parts]
    assert Counter(table["dir"]) == Counter(name for part in tested for name in part)
    for train, test in parts:
        assert set(train["dir"]) == set(table["dir"]) - set(test["dir"]) and len(train) + len(test) == len(table)
        assert set(train["class_id"]) == set(range(len(sizes)))
    for one, other in combinations([test for _, test in parts], 2):
        assert abs(len(one) - len(other)) <= 1
        for class_id in range(len(sizes)):
            assert abs((one["class_id"] == class_id).sum() - (other["class_id"] == class_id).sum()) <= 1


def test_folds_follow_the_seed_and_are_read_back(csv_set, tmp_path):
    folds = dict(protocol="cv", folds=3, fold=1)
    splits = load_splits(csv_set, **folds)
    assert (len(splits.train), len(splits.test)) == (8, 4)
    assert splits.digest == load_splits(csv_set, **folds).digest != load_splits(csv_set, seed=2, **folds).digest
    write_splits(splits, tmp_path / "run" / "splits")
    again = load_splits(tmp_path / "run" / "splits", images=str(splits.image_root), **folds)
    assert again.digest == splits.digest and again.paths(again.test) == splits.paths(splits.test)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(1, 3), min_size=2, max_size=5), min_size=2, max_size=5), st.integers(2, 4))
@example([[1, 2], [3, 1], [1, 3], [3, 1]], 2)
@pytest.mark.filterwarnings("ignore:folds=")
def test_a_group_is_in_one_fold(classes, folds):
    rows = [
        (class_id, f"{class_id}/{group}_{number}.png")
        for class_id, groups in enumerate(classes)
        for group, size in enumerate(groups)
        for number in range(size)
    ]
    tables = {"train_val": pd.DataFrame(rows, columns=["class_id", "dir"])}
    groups = {path: path.partition("_")[0] for _, path in rows}
    if folds > len(rows):
        return
    parts = [cross_validation(tables, fold, folds, 1, groups) for fold in range(folds)]
    assert Counter(path for _, path in rows) == Counter(path for _, test in parts for path in test["dir"])
    for train, test in parts:
        assert not {groups[path] for path in train["dir"]} & {groups[path] for path in test["dir"]}
        assert set(train["class_id"]) == set(range(len(classes)))
    sizes = [len(test) for _, test in parts]
    assert max(sizes) - min(sizes) <= max(map(max, classes)) * 2


def test_groups_are_a_column_or_a_pattern(csv_set, tmp_path):
    for table in csv_set.glob("t*.csv"):
        frame = pd.read_csv(table)
        frame.assign(vine=frame["dir"].str.extract(r"^(.*_\d)\.")[0]).to_csv(table, index=False)
    (csv_set / "val.csv").unlink()
    folds = dict(protocol="cv", folds=2, fold=0)
    by_column = load_splits(csv_set, groups="vine", **folds)
    by_pattern = load_splits(csv_set, groups=r"^(.*_\d)\.png$", **folds)
    assert not set(by_column.train["vine"]) & set(by_column.test["vine"])
    assert by_pattern.digest == by_column.digest
    with pytest.warns(UfgirWarning, match="class 0, 1, 2"):
        load_splits(csv_set, groups="^.", **folds)
    write_splits(by_column, tmp_path / "run" / "splits")
    again = load_splits(tmp_path / "run" / "splits", images=str(by_column.image_root), groups="vine", **folds)
    assert again.digest == by_column.digest
    edit(csv_set / "test.csv", "1_oak/test_0.png,1_oak/test_0", "1_oak/test_0.png,")
    (error,) = errors_of(csv_set, groups="vine", **folds)
    assert "dataset.groups=vine" in error and "empty in test.csv for 1_oak/test_0.png" in error
    assert "dataset.groups=nothing" in errors_of(csv_set, groups="nothing", **folds)[0]
    assert "dataset.groups=(" in errors_of(csv_set, groups="(", **folds)[0]


def test_too_few_images_for_the_folds(csv_set):
    with pytest.warns(UfgirWarning, match="folds=5: class 0, 1, 2 has .* folds=4"):
        load_splits(csv_set, protocol="cv", folds=5)
    for table in csv_set.glob("*.csv"):
        table.write_text(
            "".join(row for row in table.read_text().splitlines(keepends=True) if row[0] != "1" or "test" in row)
        )
    (error,) = errors_of(csv_set, protocol="cv", folds=2)
    assert "protocol=cv" in error and "class 1" in error


@pytest.fixture
def folder(tmp_path, picture):
    root = tmp_path / "photos"
    for name, count in {"class 10": 10, "class 2": 5, "class 1": 3}.items():
        for number in range(count):
            picture(root / name / f"{number}.PNG", number, size=(4, 4))
    (root / "class 1" / "notes.txt").write_text("no image")
    (root / ".hidden").mkdir()
    return root


def test_class_folders_are_split_stratified_and_read_back(folder, tmp_path):
    splits = load_splits(folder, "folder", ".", protocol="holdout")
    assert splits.class_names == ["class 1", "class 2", "class 10"]
    counts = {split: table["class_id"].value_counts().sort_index().tolist() for split, table in splits.tables.items()}
    assert counts == {"train": [1, 2, 5], "val": [1, 1, 2], "train_val": [2, 3, 7], "test": [1, 2, 3]}
    # The first of each class by `printf '1/class 2/0.PNG' | sha256sum`: the same on every machine.
    assert splits.test["dir"].tolist() == [
        "class 1/2.PNG",
        "class 2/0.PNG",
        "class 2/1.PNG",
        "class 10/0.PNG",
        "class 10/1.PNG",
        "class 10/5.PNG",
    ]
    assert load_splits(folder, "folder", ".", seed=2).digest != load_splits(folder, "folder", ".").digest
    write_splits(splits, tmp_path / "splits")
    again = load_splits(tmp_path / "splits", images=str(folder), protocol="holdout")
    assert (again.digest, again.class_names) == (splits.digest, splits.class_names)


def test_small_class_folders(folder, picture):
    tables = load_splits(folder, "folder", ".", val_fraction=0.5, test_fraction=0.45).tables
    assert all(table["class_id"].unique().tolist() == [0, 1, 2] for table in tables.values())
    latin = Path(os.fsdecode(os.fsencode(folder / "class 2") + b"/\xe9.png"))
    (folder / "class 2" / "0.PNG").rename(latin)
    assert r"class 2/\udce9.png" in errors_of(folder, "folder", ".")[0]
    latin.unlink()
    picture(folder / "class 3" / "a.png")
    assert "class 3 (1)" in errors_of(folder, "folder", ".")[0]
    assert "at least two" in errors_of(folder, "folder", "class 1")[0]


def test_a_folder_that_cannot_be_opened_is_an_error(folder, monkeypatch):
    opened = os.scandir

    def scandir(path):
        if Path(path).name == "class 2":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="class 2"):
        load_splits(folder, "folder", ".")
    found, unreadable = find_images(str(folder))
    assert len(found) == 13 and unreadable == [(folder / "class 2", "Permission denied")]
