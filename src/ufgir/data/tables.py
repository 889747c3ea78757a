"""The CSV tables of a data set, read, checked and written.

A data set is `train.csv`, `val.csv`, `train_val.csv` and `test.csv` with the header `class_id,dir`: `class_id` counts
from 0, `dir` is the path of an image below the image folder. `classid_classname.csv` may name the classes.
"""

import posixpath
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path, PurePosixPath

import pandas as pd

from ufgir.errors import UserError
from ufgir.utils import atomic_write, first_ten

SPLITS = ("train", "val", "train_val", "test")
COLUMNS = ("class_id", "dir")
CLASS_NAMES = "classid_classname.csv"

Tables = dict[str, pd.DataFrame]
"""Split name -> table with the columns `class_id` (integer) and `dir` (text), and whatever else its file has."""


def read_table(path: Path) -> pd.DataFrame:
    """Read one split table; columns other than `class_id` and `dir` are text.

    Raises:
        UserError: the file is not a table of images.
    """
    table = read_columns(path, COLUMNS)
    if table.empty:
        raise UserError(f"{path} is empty: it has no row below its header.")
    errors = []
    for column, is_valid, meaning in (
        ("class_id", table["class_id"].str.fullmatch(r"-?[0-9]{1,9}"), "an integer"),
        ("dir", table["dir"] != "", "the path of an image"),
    ):
        if not is_valid.all():
            lines = [f"line {line} ({value!r})" for line, value in table[column][~is_valid].items()]
            errors.append(f"{path}: {column} must be {meaning}, but is not in {first_ten(lines)}.")
    if errors:
        raise UserError(*errors)
    return table.astype({"class_id": int}).reset_index(drop=True)


def read_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """All columns as text, without rows that are blank in the given ones, which must be there.

    The index is the line number of the file.
    """
    try:
        table = pd.read_csv(
            path, dtype=str, na_filter=False, skip_blank_lines=False, index_col=False, encoding="utf-8-sig"
        )
    except (OSError, ValueError) as error:  # also pandas' parser errors and a wrong encoding
        raise UserError(
            f"{path} cannot be read as a CSV file: {error}. Expected the header {','.join(columns)}."
        ) from None
    if missing := [column for column in columns if column not in table.columns]:
        raise UserError(
            f"{path} has no column {' and no column '.join(missing)}: its first line is "
            f"{','.join(map(str, table.columns))!r}, expected the header {','.join(columns)}."
        )
    table.index += 2
    table = table.fillna("")
    table[columns[0]] = table[columns[0]].str.strip()
    return table[(table[list(columns)] != "").any(axis=1)]


def write_tables(tables: Tables, folder: Path, class_names: Sequence[str] | None = None) -> None:
    """Write each table as `<split>.csv`, and the class names as `classid_classname.csv`, into a folder."""
    files = {f"{split}.csv": table for split, table in tables.items()}
    if class_names is not None:
        files[CLASS_NAMES] = pd.DataFrame({"class_id": range(len(class_names)), "class_name": class_names})
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in files.items():
        with atomic_write(folder / name) as stream:
            table.to_csv(stream, index=False, lineterminator="\n")


def count_classes(tables: Tables) -> int:
    """One more than the largest class id of all tables."""
    return 1 + max(int(table["class_id"].max()) for table in tables.values())


def read_class_names(folder: Path, tables: Tables) -> list[str]:
    """The class names in the order of the class ids.

    They come from `classid_classname.csv` (header `class_id,class_name`) where it exists; else from the first folder
    of `dir` where each class has one of its own; else they are `class_0`, `class_1`, ...

    Raises:
        UserError: the file cannot be read or lacks a class.
    """
    count, path = count_classes(tables), folder / CLASS_NAMES
    if path.exists():
        rows = read_columns(path, ("class_id", "class_name"))
        pairs = zip(rows["class_id"], rows["class_name"], strict=True)
        names = {int(number): name for number, name in pairs if number.isdecimal()}
        if missing := [number for number in range(count) if not names.get(number)]:
            raise UserError(f"{path} has no name for class {first_ten(missing)}.")
        return [names[number] for number in range(count)]
    rows = pd.concat(tables.values())
    rows["dir"] = rows["dir"].map(lambda path: parts[0] if len(parts := PurePosixPath(path).parts) > 1 else "")
    rows = rows[list(COLUMNS)].drop_duplicates().sort_values("class_id")
    if rows["class_id"].is_unique and rows["dir"].is_unique and "" not in set(rows["dir"]):
        return rows["dir"].tolist()
    return [f"class_{number}" for number in range(count)]


def table_errors(tables: Tables, train: str | None, tested: Sequence[str]) -> Iterator[str]:
    """What is wrong with the contents of tables, a sentence for each mistake.

    `train` is the table to train on, None where all are pooled (`protocol=cv`); `tested` are those to validate or test
    on.
    """
    rows = pd.concat([table.assign(split=split) for split, table in tables.items()], ignore_index=True)
    if outside := [
        f"{row.dir} in {row.split}.csv"
        for row in rows.itertuples()
        if row.dir.startswith("/") or ".." in PurePosixPath(row.dir).parts
    ]:
        yield f"dir must stay below the image folder, got {first_ten(outside)}."
    rows["dir"] = rows["dir"].map(posixpath.normpath)
    if negative := [f"{row.class_id} in {row.split}.csv ({row.dir})" for row in rows.itertuples() if row.class_id < 0]:
        yield f"class_id must not be negative, got {first_ten(negative)}."
    elif missing := sorted(set(range(count_classes(tables))) - set(rows["class_id"])):
        remedy = "The ids seem to start at 1: subtract 1." if missing == [0] else "Number the classes 0, 1, 2, ..."
        yield (
            f"the class ids go up to {rows['class_id'].max()}, but there is no image of class {first_ten(missing)}. "
            f"{remedy}"
        )
    classes = rows.groupby("dir", sort=False)["class_id"].unique()
    if len(twice := classes[classes.map(len) > 1]):
        found = [f"{path} (classes {', '.join(map(str, several))})" for path, several in twice.items()]
        yield f"an image must have one class, but {first_ten(found)}."
    if train is None:
        return
    for one, other in combinations(tables, 2):
        if "train_val" in (one, other) and "test" not in (one, other):
            continue  # only train_val repeats the rows of train and val
        images = [set(rows["dir"][rows["split"] == split]) for split in (one, other)]
        if common := sorted(images[0] & images[1]):
            yield (
                f"{len(common)} images are in both {one}.csv and {other}.csv, so the result would be measured on "
                f"training images: {first_ten(common)}. Remove them from one table."
            )
    if train in tables:
        trained = set(tables[train]["class_id"])
        if len(trained) == 1:
            yield f"{train}.csv has images of one class only; a classifier needs at least two."
        for split in (split for split in tested if split in tables):
            if unseen := sorted(number for number in set(tables[split]["class_id"]) - trained if number >= 0):
                yield f"{split}.csv has classes of which {train}.csv has no image: {first_ten(unseen)}."
