"""The raw Ultra-FGVC release turned into split tables.

A set's folder holds `images/*.png` and `anno/{train,val,test}.txt` with lines `name class`, classes counted from 1.
Some sets also tell class and split in the names of their files, which is enough where `anno/` is missing.
"""

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ufgir.data.images import list_images
from ufgir.data.tables import COLUMNS, SPLITS, Tables, count_classes, first_ten, read_table, table_errors, write_tables
from ufgir.errors import UserError
from ufgir.utils import natural_key

STAGES = ("R1", "R3", "R4", "R5", "R6")
DEPTH = 3  # the release nests its sets, as in SoyAgeing/SoyAgeing-R1/R1
TRAIN_SHARE = 0.8
ANNO_LINE = re.compile(r"\s*(?P<image>\S.*?)\s+(?P<label>[1-9][0-9]{0,8})\s*")
FILE_NAME = re.compile(r"(?P<label>[1-9][0-9]*)_[0-9]+_(?P<part>train|test)\.\w+")

Rows = list[tuple[int, str]]
"""Class (from 1 in the release, from 0 in tables) and image of each row."""


@dataclass(frozen=True)
class UltraSet:
    """One of the five sets: the names its folder goes by, and its size as the paper states it."""

    aliases: tuple[str, ...]  # lower case, letters and digits only
    counts: dict[str, int]
    stages: tuple[str, ...] = ("",)  # folders that are pooled; "" is the set's own
    labelled_names: bool = False  # files are named {class}_{index}_{train|test}.png


def _set(aliases: str, *counts: int, **options) -> UltraSet:
    return UltraSet(tuple(aliases.split()), dict(zip(("classes", *SPLITS), counts, strict=True)), **options)


SETS = {
    "cotton80": _set("cotton cotton80", 80, 160, 80, 240, 240, labelled_names=True),
    "soylocal": _set("soylocal soybean200 soybeanlocal soycultivar200", 200, 400, 200, 600, 600, labelled_names=True),
    "soygene": _set("soygene soybeangene", 1110, 9562, 3201, 12763, 11143),
    "soyageing": _set("soyageing soyaging soybeanageing soybeanaging", 198, 3960, 990, 4950, 4950, stages=STAGES),
    "soyglobal": _set("soyglobal soybean2000 soybeanglobal soycultivarglobal", 1938, 3876, 1938, 5814, 5814,
                      labelled_names=True),
}


@dataclass
class Prepared:
    """What `prepare_release` did.

    Args:
        counts: set -> `classes` and images of each table.
        existing: sets that were there already, with the same tables.
        unknown: folders like those of a set whose names tell none.
    """

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    existing: list[str] = field(default_factory=list)
    unknown: list[Path] = field(default_factory=list)


def prepare_release(raw: Path, out: Path, dataset: str | None = None, copy: bool = False) -> Prepared:
    """Write `<out>/<set>/{train,val,train_val,test}.csv` and `<out>/<set>/images` for the sets found in `raw`.

    Nothing is written unless all sets are sound, and each set appears whole or not at all.

    Args:
        raw: the unpacked release, or the folder of one set.
        out: folder to write to.
        dataset: only this set; then `raw` may be its folder under any name. None: all that are found.
        copy: copy the images instead of linking to them.

    Raises:
        UserError: with all errors of all sets.
    """
    found, unknown = _find_sets(raw, out, dataset)
    if not found:
        raise UserError(f"raw={raw} holds no folder of {dataset or 'any of the five sets'}. Expected a folder with "
                        f"images/, at most {DEPTH} levels deep, whose name or that of a folder around it is like "
                        "COTTON, SoyLocal, SoyGene, SoyAgeing/R1 or SoyGlobal. For other names give "
                        "raw=FOLDER_OF_ONE_SET dataset=NAME.")
    prepared, tables, errors = Prepared(unknown=[] if dataset else unknown), {}, []
    for name, stages in found.items():
        try:
            tables[name] = _read_set(name, stages, raw)
        except UserError as error:
            errors += error.messages
            continue
        prepared.counts[name] = {"classes": count_classes(tables[name]),
                                 **{split: len(tables[name][split]) for split in SPLITS}}
        if (target := out / name).exists():
            prepared.existing.append(name)
            if not all((file := target / f"{split}.csv").is_file() and read_table(file).equals(table)
                       for split, table in tables[name].items()):
                errors.append(f"out={out}: {target} exists with other content. Remove it or give another out.")
            elif not (target / "images" / tables[name]["test"]["dir"].iloc[0]).is_file():
                errors.append(f"out={out}: the images of {target} are not where they were. Remove it and repeat this.")
    if errors:
        raise UserError(*errors)
    for name in (name for name in tables if name not in prepared.existing):
        try:
            _write_set(tables[name], {stage: folders[0] for stage, folders in found[name].items()}, out / name, copy)
        except OSError as error:
            raise UserError(f"out={out}: {out / name} cannot be written ({error}). Give another out"
                            f"{'' if copy else ', or copy=true where links are not possible'}.") from error
    return prepared


def split_train_val(rows: Rows) -> tuple[Rows, Rows]:
    """The authors' rule: of each class the first `int(0.8 n)` rows are for training, the rest for validation."""
    total, seen = Counter(label for label, _ in rows), Counter()
    train, val = [], []
    for label, image in rows:
        part = train if seen[label] < int(TRAIN_SHARE * total[label]) else val
        part.append((label, image))
        seen[label] += 1
    return train, val


def _find_sets(raw: Path, out: Path, only: str | None) -> tuple[dict[str, dict[str, list[Path]]], list[Path]]:
    """Set -> stage (`""` but for SoyAgeing) -> folders of that name; and folders whose set their names do not tell."""
    found: dict[str, dict[str, list[Path]]] = {}
    unknown = []
    for folder in _folders_with_images(raw, out, DEPTH):
        name, stage = _recognize(folder, raw)
        if name is None and folder == raw and only is not None and SETS[only].stages == ("",):
            name = only
        if name is None and (folder / "anno").is_dir():
            unknown.append(folder)
        elif name is not None and only in (None, name):
            found.setdefault(name, {}).setdefault(stage, []).append(folder)
    return found, unknown


def _folders_with_images(folder: Path, skip: Path, depth: int) -> Iterator[Path]:
    if folder.resolve() == skip.resolve():  # earlier results below `raw`
        return
    if (folder / "images").is_dir():
        yield folder
    elif depth:
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.name.startswith("."):
                yield from _folders_with_images(child, skip, depth - 1)


def _recognize(folder: Path, raw: Path) -> tuple[str | None, str]:
    """Set and stage of a folder, from its own name and those of the folders around it up to `raw`."""
    around = (raw.resolve().name, *folder.relative_to(raw).parts)
    for part in (re.sub(r"[^a-z0-9]", "", part.lower()) for part in reversed(around)):
        stage = re.fullmatch(r"(.*)(r\d)", part)
        if stage and stage[1] in ("", *SETS["soyageing"].aliases) and stage[2].upper() in STAGES:
            return "soyageing", stage[2].upper()
        for name, known in SETS.items():
            if part in known.aliases and known.stages == ("",):
                return name, ""
    return None, ""


def _read_set(name: str, stages: dict[str, list[Path]], raw: Path) -> Tables:
    """The split tables of one set; `dir` begins with the stage where there are several: `R1/images/x.png`.

    `train_val` is the rows of train.txt and then those of val.txt, one stage after the other.
    """
    errors = [f"{len(folders)} folders below raw={raw} are {f'{name} {stage}'.strip()} by their names: "
              f"{first_ten(folders)}. Give one of them as raw=." for stage, folders in stages.items() if folders[1:]]
    if missing := [stage for stage in SETS[name].stages if stage not in stages]:
        errors.append(f"{name} below raw={raw} lacks {first_ten(missing)}. It is pooled from the folders "
                      f"{', '.join(STAGES)}, each with images/ and anno/.")
    if errors:
        raise UserError(*errors)
    train_val, test = [], []
    for stage in SETS[name].stages:
        prefix = f"{stage}/images/" if stage else ""
        try:
            parts = _read_folder(stages[stage][0], SETS[name].labelled_names)
        except UserError as error:
            errors += error.messages
            continue
        train_val += [(label - 1, prefix + image) for label, image in parts["train"] + parts["val"]]
        test += [(label - 1, prefix + image) for label, image in parts["test"]]
    train, val = split_train_val(train_val)
    if not errors and not train:
        errors.append(f"{name}: no class has two images in train.txt and val.txt, so none can be set aside for val.")
    rows = {"train": train, "val": val, "train_val": train_val, "test": test}
    tables = {split: pd.DataFrame(part, columns=list(COLUMNS)) for split, part in rows.items()}
    if not errors:
        found = table_errors(tables, "train_val", ["test"])
        errors = [f"{name} (class ids counted from 0): {error}" for error in found]
    if errors:
        raise UserError(*errors)
    return tables


def _read_folder(folder: Path, labelled_names: bool) -> dict[str, Rows]:
    """The rows of one folder for `train`, `val` and `test`, with classes from 1."""
    images = [path.relative_to(folder / "images").as_posix() for path in list_images(folder / "images").paths]
    rows: dict[str, Rows] = {"train": [], "val": [], "test": []}
    errors = []
    if labelled_names and not (folder / "anno").is_dir():
        matches = {image: FILE_NAME.fullmatch(image) for image in sorted(images, key=natural_key)}
        for image, match in matches.items():
            if match is not None:
                rows[match["part"]].append((int(match["label"]), image))
        if strange := [image for image, match in matches.items() if match is None]:
            errors.append(f"{folder} has no anno/, and these of its images are not named CLASS_INDEX_train.png or "
                          f"CLASS_INDEX_test.png: {first_ten(strange)}.")
        errors += [f"{folder} has no anno/, and no image named CLASS_INDEX_{part}.png."
                   for part in ("train", "test") if not rows[part]]
    else:
        by_name = {image.rsplit(".", 1)[0]: image for image in images} | {image: image for image in images}
        for part in rows:
            file = folder / "anno" / f"{part}.txt"
            if part != "val" or file.exists():
                try:
                    rows[part] = _read_anno(file, by_name)
                except UserError as error:
                    errors += error.messages
    if errors:
        raise UserError(*errors)
    known = set(rows["train"])  # a val.txt that repeats rows of train.txt adds nothing
    rows["val"] = [row for row in rows["val"] if row not in known]
    return rows


def _read_anno(path: Path, images: dict[str, str]) -> Rows:
    """The rows of a file with lines `name class`; `images` gives the file of each name, with and without ending."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from None
    matches = {number: ANNO_LINE.fullmatch(line) for number, line in enumerate(lines, start=1) if line.strip()}
    bad = [f"line {number} ({lines[number - 1]!r})" for number, match in matches.items() if match is None]
    rows = [(int(match["label"]), match["image"]) for match in matches.values() if match is not None]
    missing = [image for _, image in rows if image not in images]
    errors = []
    if not matches:
        errors.append(f"{path} is empty.")
    if bad:
        errors.append(f"{path}: each line must be `name class` with a class from 1 on, but not in {first_ten(bad)}.")
    if missing:
        errors.append(f"{path} names {len(missing)} images that are not in {path.parents[1] / 'images'}: "
                      f"{first_ten(missing)}.")
    if errors:
        raise UserError(*errors)
    return [(label, images[image]) for label, image in rows]


def _write_set(tables: Tables, stages: dict[str, Path], target: Path, copy: bool) -> None:
    """Write one set whole or not at all."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.mkdir(parents=True)
        write_tables(tables, draft)
        for stage, folder in stages.items():
            images = draft / "images" / stage / "images" if stage else draft / "images"
            images.parent.mkdir(parents=True, exist_ok=True)
            if copy:
                shutil.copytree(folder / "images", images)
            else:
                images.symlink_to(os.path.abspath(folder / "images"), target_is_directory=True)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
