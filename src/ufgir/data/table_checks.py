"""What a set of split tables must satisfy before anything is trained on it."""

import posixpath
from itertools import combinations, pairwise
from pathlib import PurePosixPath

import pandas as pd

from ufgir.data.tables import Tables
from ufgir.data.wording import listed


def table_faults(tables: Tables, where: str, train: str | None = None, test: str | None = None) -> list[str]:
    """Faults in the contents of readable tables.

    Args:
        tables: those that exist.
        where: what the user typed to name them; it begins each sentence.
        train, test: the tables of the protocol, when they exist: every class tested must be trained, two at least.
    """
    if not tables:
        return []
    rows = pd.concat([table.assign(split=split) for split, table in tables.items()], ignore_index=True)
    rows["dir"] = rows["dir"].map(posixpath.normpath)
    faults = _class_id_faults(rows) + _path_faults(tables) + _label_faults(rows) + _leakage_faults(tables, rows)
    if train in tables and test in tables:
        faults += _protocol_faults(tables, train, test)
    return [f"{where}: {fault}" for fault in faults]


def _class_id_faults(rows: pd.DataFrame) -> list[str]:
    negative = rows[rows["class_id"] < 0]
    if len(negative):
        found = [f"{row.class_id} in {row.split}.csv ({row.dir})" for row in negative.itertuples()]
        return [f"class_id must not be negative, got {listed(found)}"]
    present = set(rows["class_id"])
    steps = pairwise([-1, *sorted(present)])
    lacking = [f"{one + 1}" if other == one + 2 else f"{one + 1} to {other - 1}" for one, other in steps
               if other > one + 1]
    if not lacking:
        return []
    advice = "the ids seem to start at 1: subtract 1" if lacking == ["0"] else "number the classes from 0 without gaps"
    return [f"the class ids have gaps: {len(present)} classes with ids up to {max(present)}, but no image of class "
            f"{listed(lacking)}; {advice}"]


def _path_faults(tables: Tables) -> list[str]:
    faults = []
    for split, table in tables.items():
        outside = [path for path in table["dir"] if _leaves_the_folder(path)]
        if outside:
            faults.append(f"{split}.csv: dir must stay below the image folder, got {listed(outside)}")
    return faults


def _leaves_the_folder(path: str) -> bool:
    return PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts


def _label_faults(rows: pd.DataFrame) -> list[str]:
    """One image must have one class, in all tables."""
    pairs = rows.drop_duplicates(["dir", "class_id"])
    twice = pairs[pairs["dir"].duplicated(keep=False)].groupby("dir", sort=False)["class_id"].apply(list)
    if twice.empty:
        return []
    found = [f"{path} (classes {', '.join(map(str, classes))})" for path, classes in twice.items()]
    return [f"an image must have one class, but {listed(found)}"]


def _leakage_faults(tables: Tables, rows: pd.DataFrame) -> list[str]:
    """No image may be both trained and tested on; only train_val repeats the rows of train and val."""
    images = {split: set(rows["dir"][rows["split"] == split]) for split in tables}
    faults = []
    for one, other in combinations(tables, 2):
        if "train_val" in (one, other) and "test" not in (one, other):
            continue
        if common := sorted(images[one] & images[other]):
            faults.append(f"{len(common)} images are in both {one}.csv and {other}.csv, so the result would be "
                          f"measured on training images: {listed(common)}")
    return faults


def _protocol_faults(tables: Tables, train: str, test: str) -> list[str]:
    trained, tested = set(tables[train]["class_id"]), set(tables[test]["class_id"])
    faults = []
    if len(trained) == 1:
        faults.append(f"{train}.csv has images of one class only; a classifier needs at least two")
    if unseen := sorted(number for number in tested - trained if number >= 0):
        faults.append(f"{test}.csv has classes of which {train}.csv shows no image: {listed(unseen)}")
    return faults
