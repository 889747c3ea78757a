"""Class folders are split stratified, reproducibly, and refused where a split is impossible."""

import pytest

from ufgir.data import collect, load_source, write_tables


@pytest.fixture
def folder(tmp_path, picture):
    root = tmp_path / "photos"
    for name, count in {"class 10": 10, "class 2": 5, "class 1": 3}.items():
        for number in range(count):
            picture(root / name / f"{number}.PNG", number, size=(4, 4))
    (root / "class 1" / "notes.txt").write_text("no image")
    (root / ".hidden").mkdir()
    return root


@pytest.fixture
def photos(node, folder):
    def make(**changes):
        settings = {"name": "folder", "format": "folder", "images": ".", "val_fraction": 0.2, "test_fraction": 0.3}
        return node(folder, **settings | changes)

    return make


def test_split_is_stratified_and_names_are_in_natural_order(photos):
    source = load_source(photos(), protocol="test", seed=1)
    assert source.class_names == ["class 1", "class 2", "class 10"]
    counts = {split: table["class_id"].value_counts().sort_index().tolist() for split, table in source.tables.items()}
    assert counts == {"train": [1, 2, 5], "val": [1, 1, 2], "train_val": [2, 3, 7], "test": [1, 2, 3]}
    everything = source.tables["train_val"]["dir"].tolist() + source.tables["test"]["dir"].tolist()
    assert len(set(everything)) == 18
    assert set(source.tables["train"]["dir"]) | set(source.tables["val"]["dir"]) == set(source.train["dir"])


def test_every_part_gets_an_image_whatever_the_fractions(photos):
    tables = load_source(photos(val_fraction=0.5, test_fraction=0.45), protocol="test", seed=1).tables
    assert all(table["class_id"].unique().tolist() == [0, 1, 2] for table in tables.values())


def test_split_follows_the_seed_only(photos):
    def split(seed):
        tables = load_source(photos(), protocol="test", seed=seed).tables
        return {name: table.values.tolist() for name, table in tables.items()}

    assert split(1) == split(1)
    assert split(1) != split(2)


def test_split_is_the_same_on_every_machine(photos):
    test = load_source(photos(), protocol="test", seed=1).tables["test"]["dir"].tolist()
    # the first of each class by `printf '1/class 2/0.PNG' | sha256sum`
    assert test == ["class 1/2.PNG", "class 2/0.PNG", "class 2/1.PNG", "class 10/0.PNG", "class 10/1.PNG",
                    "class 10/5.PNG"]


def test_written_split_is_read_back(photos, node, folder, tmp_path):
    source = load_source(photos(), protocol="val", seed=1)
    run = tmp_path / "run"
    run.mkdir()
    write_tables(source.tables, run, source.class_names)
    again = load_source(node(run, images=str(folder)), protocol="val", seed=1)
    assert again.class_names == source.class_names
    assert again.paths(again.test) == source.paths(source.test)


def test_faults(photos, folder, picture):
    def faults(**changes):
        return collect(photos(**changes), protocol="test", seed=1)[1]

    picture(folder / "class 3" / "a.png")
    assert faults() == [f"{folder}: each class needs at least 3 images, one each to train, validate and test; too few "
                        "in class 3 (1)"]
    assert faults(val_fraction=0.5, test_fraction=0.5)[0] == (
        "dataset.val_fraction=0.5 and dataset.test_fraction=0.5 leave nothing to train on; their sum must be below 1")
    assert faults(images="class 1") == [f"{folder}/class 1 must hold one folder of images for each class, at least "
                                        "two; it holds none"]
    assert faults(images="no") == [f"dataset.images=no: the image folder {folder}/no is missing"]
