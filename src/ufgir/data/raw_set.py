"""One set of the raw Ultra-FGVC release as split tables.

Its folder holds `images/*.png` and `anno/{train,val,test}.txt` with lines `name class`, classes counted from 1. Some
sets also tell class and part in the names of their files, which is enough where `anno/` is missing.
"""

import re
from collections import Counter
from pathlib import Path

import pandas as pd

from ufgir.data.folder import image_files, natural
from ufgir.data.table_checks import table_faults
from ufgir.data.tables import SPLITS, Tables, num_classes
from ufgir.data.ultra_fgvc import SETS
from ufgir.data.wording import listed, reason

TRAIN_SHARE = 0.8
ANNO_LINE = re.compile(r"\s*(?P<image>\S.*?)\s+(?P<label>[1-9][0-9]{0,8})\s*")
FILE_NAME = re.compile(r"(?P<label>[1-9][0-9]*)_[0-9]+_(?P<part>train|test)\.\w+")

Rows = list[tuple[int, str]]
"""Class and image of each row."""


def read_set(name: str, folders: dict[str, Path]) -> tuple[Tables, list[str]]:
    """The split tables of one set.

    `train_val` is the rows of train.txt and then those of val.txt, one stage after the other. Class ids count from 0;
    `dir` is relative to `images/`, and begins with the stage where there are several: `R1/images/x.png`.

    Args:
        folders: stage → folder, as in `Release.sets`.

    Returns:
        the four tables, and a sentence for each fault.
    """
    train_val, test, faults = [], [], []
    for stage in SETS[name].stages:
        prefix = f"{stage}/images/" if stage else ""
        parts, found = _read_folder(folders[stage], SETS[name].labelled_names)
        train_val += [(label - 1, prefix + image) for label, image in parts["train"] + parts["val"]]
        test += [(label - 1, prefix + image) for label, image in parts["test"]]
        faults += found
    train, val = split_train_val(train_val)
    if not faults and not train:
        faults.append(f"{name}: no class has two images in train.txt and val.txt, which is too few to set any aside")
    if faults:
        return {}, faults
    rows = {"train": train, "val": val, "train_val": train_val, "test": test}
    tables = {split: pd.DataFrame(part, columns=["class_id", "dir"]) for split, part in rows.items()}
    return tables, table_faults(tables, f"{name} (class ids counted from 0)", "train_val", "test")


def split_train_val(rows: Rows) -> tuple[Rows, Rows]:
    """The authors' rule: of each class the first `int(0.8 n)` rows are for training, the rest for validation."""
    total, seen = Counter(label for label, _ in rows), Counter()
    train, val = [], []
    for label, image in rows:
        part = train if seen[label] < int(TRAIN_SHARE * total[label]) else val
        part.append((label, image))
        seen[label] += 1
    return train, val


def set_counts(tables: Tables) -> dict[str, int]:
    """Classes, and images of each table, in the form of `UltraSet.counts`."""
    return {"classes": num_classes(tables), **{split: len(tables[split]) for split in SPLITS}}


def _read_folder(folder: Path, labelled_names: bool) -> tuple[dict[str, Rows], list[str]]:
    """The rows of one folder, for `train`, `val` and `test`, with classes from 1; and faults."""
    images = [path.relative_to(folder / "images").as_posix() for path in image_files(folder / "images")]
    anno = folder / "anno"
    if labelled_names and not anno.is_dir():
        return _read_file_names(folder, images)
    by_name = {image.rsplit(".", 1)[0]: image for image in images} | {image: image for image in images}
    rows: dict[str, Rows] = {"train": [], "val": [], "test": []}
    faults = []
    for part in rows:
        if part == "val" and not (anno / "val.txt").exists():
            continue
        rows[part], found = _read_anno(anno / f"{part}.txt", by_name)
        faults += found
    known = set(rows["train"])  # a val.txt that repeats rows of train.txt adds nothing
    rows["val"] = [row for row in rows["val"] if row not in known]
    return rows, faults


def _read_anno(path: Path, images: dict[str, str]) -> tuple[Rows, list[str]]:
    """The rows of a file with lines `name class`; `images` gives the file of each name, with and without ending."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return [], [f"{path} cannot be read: {reason(error)}"]
    matches = {number: ANNO_LINE.fullmatch(line) for number, line in enumerate(lines, start=1) if line.strip()}
    bad = [f"line {number} ({lines[number - 1]!r})" for number, match in matches.items() if match is None]
    rows = [(int(match["label"]), match["image"]) for match in matches.values() if match is not None]
    missing = [image for _, image in rows if image not in images]
    faults = []
    if not matches:
        faults.append(f"{path} is empty")
    if bad:
        faults.append(f"{path}: each line must be `name class` with a class from 1 on, but see {listed(bad)}")
    if missing:
        faults.append(f"{path} names {len(missing)} images that are not in {path.parents[1] / 'images'}: "
                      f"{listed(missing)}")
    return [(label, images[image]) for label, image in rows if image in images], faults


def _read_file_names(folder: Path, images: list[str]) -> tuple[dict[str, Rows], list[str]]:
    """The rows that file names `{class}_{index}_{train|test}.png` tell, in natural order."""
    rows: dict[str, Rows] = {"train": [], "val": [], "test": []}
    matches = {image: FILE_NAME.fullmatch(image) for image in sorted(images, key=natural)}
    for image, match in matches.items():
        if match is not None:
            rows[match["part"]].append((int(match["label"]), image))
    faults = []
    if strange := [image for image, match in matches.items() if match is None]:
        faults.append(f"{folder} has no anno/, and these of its images are not named CLASS_INDEX_train.png or "
                      f"CLASS_INDEX_test.png: {listed(strange)}")
    faults += [f"{folder} has no anno/, and no image named CLASS_INDEX_{part}.png" for part in ("train", "test")
               if not rows[part]]
    return rows, faults
