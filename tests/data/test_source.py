"""A data set is read as it is on disk, or refused with every fault in the user's words."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ufgir.data import PROTOCOLS, collect, load_source, write_tables
from ufgir.data.ultra_fgvc import SETS
from ufgir.errors import UserError

REAL = Path(__file__).parents[3] / "shared" / "data" / "real_leaves"


def faults_of(dataset: dict, protocol: str = "test") -> list[str]:
    source, faults = collect(dataset, protocol=protocol, seed=1)
    assert (source is None) == bool(faults)
    return faults


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(("protocol", "train", "test"), [("test", 9, 3), ("val", 6, 3)])
def test_protocol_chooses_the_tables(csv_set, node, protocol, train, test):
    source = load_source(node(csv_set), protocol=protocol, seed=1)
    assert (len(source.train), len(source.test), source.num_classes) == (train, test, 3)
    assert source.train["dir"].tolist()[0] == "0_oak/train_0.png"
    assert source.paths(source.test)[-1] == csv_set / "images" / f"2_oak/{PROTOCOLS[protocol][1]}_0.png"


def test_class_names_from_the_file_the_folders_or_the_ids(csv_set, node):
    def names():
        return load_source(node(csv_set), protocol="test", seed=1).class_names

    assert names() == ["0_oak", "1_oak", "2_oak"]
    (csv_set / "classid_classname.csv").write_text("class_id,class_name\n1,beech\n0,oak\n2,\"lime, small\"\n")
    assert names() == ["oak", "beech", "lime, small"]
    (csv_set / "classid_classname.csv").unlink()
    for table in csv_set.glob("*.csv"):
        table.write_text(table.read_text().replace("1_oak/", "0_oak/other_"))
    assert names() == ["class_0", "class_1", "class_2"]


def test_class_without_a_name_is_a_fault(csv_set, node):
    (csv_set / "classid_classname.csv").write_text("class_id,class_name\n0,oak\n2,lime\n")
    assert faults_of(node(csv_set)) == [f"{csv_set}/classid_classname.csv has no name for class 1"]


def test_tables_written_are_the_tables_read(csv_set, node, tmp_path):
    source = load_source(node(csv_set), protocol="test", seed=1)
    copy = tmp_path / "copy"
    copy.mkdir()
    write_tables(source.tables, copy, ["a", "b, c", "d"])
    again = load_source(node(copy, images=str(csv_set / "images")), protocol="test", seed=1)
    assert again.class_names == ["a", "b, c", "d"]
    assert again.paths(again.train) == source.paths(source.train)
    assert all((copy / f"{split}.csv").read_text() == (csv_set / f"{split}.csv").read_text() for split in source.tables)


def test_spreadsheet_csv_with_byte_order_mark_crlf_and_more_columns(csv_set, node):
    rows = (csv_set / "test.csv").read_text().splitlines()
    lines = [f"{row},{extra}" for row, extra in zip(rows, ["note", 1, 2, 3], strict=True)]
    (csv_set / "test.csv").write_bytes(("\ufeff" + "\r\n".join(lines) + "\r\n\r\n").encode())
    assert len(load_source(node(csv_set), protocol="test", seed=1).test) == 3


@pytest.mark.parametrize(
    ("table", "old", "new", "fault"),
    [
        ("test", "class_id,dir", "label,dir", "{root}/test.csv has no column class_id: its first line is 'label,dir', "
                                              "expected the header class_id,dir"),
        ("test", "1,1_oak", "one,1_oak", "{root}/test.csv: class_id must be an integer, but is not in line 3 ('one')"),
        ("test", "1,1_oak/test_0.png", "1,", "{root}/test.csv: dir must be the path of an image, but is empty in "
                                             "line 3"),
        ("test", "1,1_oak/test_0.png", "1", "{root}/test.csv: too few fields in line 3"),
        ("test", "1,1_oak", "-1,1_oak", "dataset.root={root}: class_id must not be negative, got -1 in test.csv "
                                        "(1_oak/test_0.png)"),
        ("test", "1,1_oak/test", "5,1_oak/test", "dataset.root={root}: the class ids have gaps: 4 classes with ids up "
         "to 5, but no image of class 3 to 4; number the classes from 0 without gaps"),
        ("test", "0_oak/", "../0_oak/", "dataset.root={root}: test.csv: dir must stay below the image folder, got "
                                        "../0_oak/test_0.png"),
        ("test", "0_oak/", "/0_oak/", "dataset.root={root}: test.csv: dir must stay below the image folder, got "
                                      "/0_oak/test_0.png"),
        ("test", "0_oak/test_0", "./0_oak/train_1", "dataset.root={root}: 1 images are in both train_val.csv and "
         "test.csv, so the result would be measured on training images: 0_oak/train_1.png"),
        ("train_val", "1,1_oak/train_1", "2,1_oak/train_0", "dataset.root={root}: an image must have one class, but "
         "1_oak/train_0.png (classes 1, 2)"),
    ],
)
def test_fault_in_a_table_is_named(csv_set, node, table, old, new, fault):
    replace(csv_set / f"{table}.csv", old, new)
    assert fault.format(root=csv_set) in faults_of(node(csv_set))


def test_class_that_is_tested_but_never_trained(csv_set, node):
    for class_id in range(3):
        replace(csv_set / "train_val.csv", f"{class_id},{class_id}_oak/train_0.png\n", "")
    kept = [row for row in (csv_set / "train_val.csv").read_text().splitlines() if not row.startswith("1,")]
    (csv_set / "train_val.csv").write_text("\n".join(kept))
    assert faults_of(node(csv_set)) == [
        f"dataset.root={csv_set}: test.csv has classes of which train_val.csv shows no image: 1"]


def test_one_class_only(csv_set, node):
    for table in csv_set.glob("*.csv"):
        table.write_text("\n".join(row for row in table.read_text().splitlines() if row[0] in "c0"))
    assert faults_of(node(csv_set)) == [
        f"dataset.root={csv_set}: train_val.csv has images of one class only; a classifier needs at least two"]


def test_ids_that_start_at_one_get_the_advice(csv_set, node):
    for table in csv_set.glob("*.csv"):
        text = table.read_text()
        table.write_text("".join(f"{int(row[0]) + 1}{row[1:]}" if row[0].isdigit() else row
                                 for row in text.splitlines(keepends=True)))
    assert faults_of(node(csv_set))[0].endswith("but no image of class 0; the ids seem to start at 1: subtract 1")


def test_empty_and_unreadable_tables(csv_set, node):
    (csv_set / "test.csv").write_text("class_id,dir\n")
    (csv_set / "val.csv").write_text("")
    (csv_set / "train.csv").write_bytes(b"class_id,dir\n0,\xff\xfe\n")
    train, val, test = faults_of(node(csv_set))
    assert train.startswith(f"{csv_set}/train.csv cannot be read as a CSV file: 'utf-8' codec")
    assert val == (f"{csv_set}/val.csv has no column class_id and no column dir: its first line is 'nothing', "
                   "expected the header class_id,dir")
    assert test == f"{csv_set}/test.csv is empty: it has no row below its header"


def test_all_faults_at_once_and_ten_examples_of_each(csv_set, node):
    replace(csv_set / "train_val.csv", "_oak", "_ash")
    (csv_set / "test.csv").write_text("class_id,dir\n" + "".join(f"x,{number}.png\n" for number in range(13)))
    shutil.rmtree(csv_set / "images")
    images, test = faults_of(node(csv_set))
    assert images == f"dataset.images=images: the image folder {csv_set}/images is missing"
    assert test.endswith("line 10 ('x'), line 11 ('x') and 3 more")


def test_missing_tables(csv_set, node):
    (csv_set / "train_val.csv").unlink()
    (fault,) = faults_of(node(csv_set))
    assert fault.startswith(f"dataset.root={csv_set} has no train_val.csv, which protocol=test needs. Make it from")
    assert not faults_of(node(csv_set), "val")
    (csv_set / "val.csv").unlink()
    assert "has no train_val.csv, which protocol=test needs. Give dataset.root=DIR" in faults_of(node(csv_set))[0]


def test_advice_for_a_missing_train_val_works(csv_set, node):
    before = (csv_set / "train_val.csv").read_text()
    (csv_set / "train_val.csv").unlink()
    (fault,) = faults_of(node(csv_set))
    subprocess.run(["sh", "-c", fault.split("`")[1]], check=True)
    assert (csv_set / "train_val.csv").read_text() == before


def test_missing_root_says_how_to_get_the_data(tmp_path, node, csv_set):
    (fault,) = faults_of(node(None))
    assert fault.startswith("dataset.root is missing. Give dataset.root=DIR, a folder with train_val.csv and test.csv")
    cotton = node(tmp_path / "no", name="cotton80", expected=SETS["cotton80"].counts)
    (fault,) = faults_of(cotton)
    assert fault.startswith(f"dataset.root={tmp_path}/no does not exist. cotton80 belongs to the Ultra-FGVC release")
    assert "`python -m ufgir.prepare raw=DIR out=DIR`" in fault
    assert "is a file, not a folder" in faults_of(node(csv_set / "test.csv"))[0]


def test_named_set_must_have_its_published_counts(csv_set, node):
    expected = {"classes": 4, "train": 6, "val": 3, "train_val": 9, "test": 5}
    assert faults_of(node(csv_set, name="cotton80", expected=expected)) == [
        f"dataset.root={csv_set} is not cotton80 as published: 3 classes instead of 4, 3 images in test.csv instead "
        f"of 5. For a selection of it use dataset=csv dataset.root={csv_set}"]


def test_only_the_tables_that_exist_are_counted(csv_set, node):
    (csv_set / "train_val.csv").unlink()
    expected = {"classes": 3, "train": 6, "val": 3, "train_val": 9, "test": 3}
    assert faults_of(node(csv_set, name="cotton80", expected=expected), "val") == []


def test_load_source_raises_all_faults(csv_set, node):
    replace(csv_set / "test.csv", "1,1_oak", "-1,../1_oak")
    with pytest.raises(UserError) as caught:
        load_source(node(csv_set), protocol="test", seed=1)
    assert len(caught.value.faults) == 2


def test_leaves_are_known_before_they_are_rendered(tmp_path, node):
    render = {"classes": 2, "train": 2, "val": 1, "test": 1, "size": 32, "seed": 3}
    source = load_source(node(tmp_path / "leaves", format="leaves", render=render), protocol="test", seed=1)
    assert (source.num_classes, len(source.train), len(source.test)) == (2, 6, 2)
    assert not (tmp_path / "leaves").exists()
    source.prepare(progress=False)
    assert all(path.is_file() for path in source.paths(source.train) + source.paths(source.test))
    assert source.class_names == load_source(
        node(source.image_root.parent), protocol="test", seed=1).class_names


@pytest.mark.skipif(not REAL.exists(), reason="the photographs are not part of the project")
def test_real_photographs(node):
    source = load_source(node(REAL), protocol="test", seed=1)
    assert (source.num_classes, len(source.train), len(source.test)) == (58, 191, 70)
    assert source.class_names[:2] == ["Alicante_bouschet", "Aligote"]
