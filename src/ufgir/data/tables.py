"""The authors' split tables: `train.csv`, `val.csv`, `train_val.csv`, `test.csv` with the header `class_id,dir`."""

import csv
import re
from pathlib import Path, PurePosixPath

import pandas as pd

from ufgir.data.wording import listed, reason

SPLITS = ("train", "val", "train_val", "test")
COLUMNS = ("class_id", "dir")
CLASS_NAMES = "classid_classname.csv"
INTEGER = re.compile(r"-?[0-9]{1,9}")

Tables = dict[str, pd.DataFrame]
"""Split name → frame with the columns `class_id` (0-based integer) and `dir` (path below the image folder)."""


def read_tables(folder: Path) -> tuple[Tables, list[str]]:
    """Read those of the four tables that exist in `folder`.

    Returns:
        the readable tables, and a sentence for each fault of the others.
    """
    tables, faults = {}, []
    for split in SPLITS:
        path = folder / f"{split}.csv"
        if path.exists():
            table, found = _read_table(path)
            faults += found
            if table is not None:
                tables[split] = table
    return tables, faults


def write_tables(tables: Tables, folder: Path, class_names: list[str] | None = None) -> None:
    """Write each table as `<split>.csv`, and the class names as `classid_classname.csv`, into an existing folder."""
    for split, table in tables.items():
        table.to_csv(folder / f"{split}.csv", columns=list(COLUMNS), index=False, lineterminator="\n")
    if class_names is not None:
        names = pd.DataFrame({"class_id": range(len(class_names)), "class_name": class_names})
        names.to_csv(folder / CLASS_NAMES, index=False, lineterminator="\n")


def num_classes(tables: Tables) -> int:
    """One more than the largest class id of all tables."""
    return 1 + max(int(table["class_id"].max()) for table in tables.values())


def read_class_names(folder: Path, tables: Tables) -> tuple[list[str], list[str]]:
    """Names of the classes, in the order of their ids.

    They come from `classid_classname.csv` (header `class_id,class_name`) where it exists; else from the first folder
    of `dir` where each class has one of its own; else they are `class_0`, `class_1`, ...

    Returns:
        the names, and a sentence for each fault of the file.
    """
    count = num_classes(tables)
    path = folder / CLASS_NAMES
    if not path.exists():
        return _names_of_folders(tables) or [f"class_{number}" for number in range(count)], []
    rows, faults = _read_rows(path, ("class_id", "class_name"))
    if faults:
        return [], faults
    names = {int(number): name for _, (number, name) in rows if INTEGER.fullmatch(number)}
    nameless = [number for number in range(count) if not names.get(number)]
    if nameless:
        return [], [f"{path} has no name for class {listed(nameless)}"]
    return [names[number] for number in range(count)], []


def _names_of_folders(tables: Tables) -> list[str]:
    """The first folder of each class's images, or nothing where classes and folders do not match one to one."""
    rows = pd.concat(tables.values())
    folders = rows["dir"].map(lambda path: parts[0] if len(parts := PurePosixPath(path).parts) > 1 else "")
    pairs = pd.DataFrame({"class_id": rows["class_id"], "folder": folders}).drop_duplicates().sort_values("class_id")
    matched = pairs["class_id"].is_unique and pairs["folder"].is_unique and "" not in set(pairs["folder"])
    return pairs["folder"].tolist() if matched else []


def _read_table(path: Path) -> tuple[pd.DataFrame | None, list[str]]:
    rows, faults = _read_rows(path, COLUMNS)
    if faults:
        return None, faults
    if not rows:
        return None, [f"{path} is empty: it has no row below its header"]
    bad_ids = [f"line {line} ({number!r})" for line, (number, _) in rows if not INTEGER.fullmatch(number)]
    if bad_ids:
        faults.append(f"{path}: class_id must be an integer, but is not in {listed(bad_ids)}")
    no_path = [f"line {line}" for line, (_, image) in rows if not image]
    if no_path:
        faults.append(f"{path}: dir must be the path of an image, but is empty in {listed(no_path)}")
    if faults:
        return None, faults
    return pd.DataFrame([(int(number), image) for _, (number, image) in rows], columns=list(COLUMNS)), []


def _read_rows(path: Path, columns: tuple[str, str]) -> tuple[list[tuple[int, tuple[str, str]]], list[str]]:
    """The two named columns of a CSV file: line number and two texts for each row that is not blank; and faults."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return [], [f"{path} cannot be read as a CSV file: {reason(error)}"]
    lacking = [column for column in columns if column not in header]
    if lacking:
        got = ",".join(header) or "nothing"
        return [], [f"{path} has no column {' and no column '.join(lacking)}: its first line is {got!r}, "
                    f"expected the header {','.join(columns)}"]
    places = [header.index(column) for column in columns]
    short = [f"line {line}" for line, row in rows if len(row) <= max(places)]
    if short:
        return [], [f"{path}: too few fields in {listed(short)}"]
    return [(line, (row[places[0]].strip(), row[places[1]])) for line, row in rows], []
