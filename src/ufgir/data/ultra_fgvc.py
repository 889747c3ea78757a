"""The raw Ultra-FGVC release turned into split tables.

A set's folder holds `images/*.png` and `anno/{train,val,test}.txt` with lines `name class`, classes counted from 1.
File names of some sets encode class and split, which is enough where `anno/` is missing.
"""

import os
import re
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ufgir.data.images import list_images
from ufgir.data.tables import COLUMNS, SPLITS, Tables, count_classes, read_table, table_errors, write_tables
from ufgir.errors import UfgirWarning, UserError
from ufgir.utils import atomic_folder, first_ten, natural_key

STAGES = ("R1", "R3", "R4", "R5", "R6")
DEPTH = 3  # the release nests its sets, as in SoyAgeing/SoyAgeing-R1/R1
TRAIN_SHARE = 0.8
ANNO_LINE = re.compile(r"\s*(?P<image>\S.*?)\s+(?P<label>[1-9][0-9]{0,8})\s*")
FILE_NAME = re.compile(r"(?P<label>[1-9][0-9]*)_[0-9]+_(?P<part>train|test)\.\w+")


@dataclass(frozen=True)
class UltraSet:
    """One of the five sets; its size as the paper states it is in `conf/dataset`."""

    aliases: str  # lower case, letters and digits only
    stages: tuple[str, ...] = ("",)  # folders that are pooled; "" is the set's own
    labelled_names: bool = False  # files are named {class}_{index}_{train|test}.png


SETS = {
    "cotton80": UltraSet("cotton cotton80", labelled_names=True),
    "soylocal": UltraSet("soylocal soybean200 soybeanlocal soycultivar200", labelled_names=True),
    "soygene": UltraSet("soygene soybeangene"),
    "soyageing": UltraSet("soyageing soyaging soybeanageing soybeanaging", STAGES),
    "soyglobal": UltraSet("soyglobal soybean2000 soybeanglobal soycultivarglobal", labelled_names=True),
}
FOLDER_NAMES = {  # -> set and stage; SoyAgeing's are known by their stage, with or without the set's name before it
    (alias if stage == "" else part + stage.lower()): (name, stage)
    for name, known in SETS.items()
    for stage in known.stages
    for alias in known.aliases.split()
    for part in (alias, "")
}


def prepare_release(raw: Path, out: Path, dataset: str | None = None, copy: bool = False) -> dict[str, dict[str, int]]:
    """Write `<out>/<set>/{train,val,train_val,test}.csv` and `<out>/<set>/images` for the sets found in `raw`.

    Nothing is written unless all sets are sound, and each set appears whole or not at all. A set that is there already
    with the same tables stays as it is. Warns of folders like those of a set whose names tell none.

    Args:
        raw: the unpacked release, or the folder of one set.
        out: folder to write to.
        dataset: only this set; then `raw` may be its folder under any name. None: all that are found.
        copy: copy the images instead of linking to them.

    Returns:
        set -> number of `classes`, and of images in each table.

    Raises:
        UserError: with all errors of all sets.
    """
    if not raw.is_dir():
        raise UserError(f"raw={raw} is not a folder. Give the unpacked release, or the folder of one of its sets.")
    found: dict[str, dict[str, list[Path]]] = {}  # set -> stage -> folders of that name
    for folder in _image_folders(raw):
        around = (raw.resolve().name, *folder.relative_to(raw).parts)
        names = [re.sub(r"[^a-z0-9]", "", part.lower()) for part in reversed(around)]
        name, stage = next((FOLDER_NAMES[part] for part in names if part in FOLDER_NAMES), (None, ""))
        if name is None and folder == raw and dataset and SETS[dataset].stages == ("",):
            name = dataset
        if name is not None and dataset in (None, name):
            found.setdefault(name, {}).setdefault(stage, []).append(folder)
        elif name is None and dataset is None and (folder / "anno").is_dir():
            warnings.warn(
                f"{folder} is left out, as its name is not that of a set. Give raw={folder} dataset=NAME.",
                UfgirWarning,
                stacklevel=2,
            )
    if not found:
        raise UserError(
            f"raw={raw} holds no folder of {dataset or 'any of the five sets'}. Expected a folder with "
            f"images/, at most {DEPTH} levels deep, whose name or that of a folder around it is like "
            "COTTON, SoyLocal, SoyGene, SoyAgeing/R1 or SoyGlobal. For other names give "
            "raw=FOLDER_OF_ONE_SET dataset=NAME."
        )
    tables, errors = {}, []
    for name, stages in found.items():
        try:
            tables[name] = _read_set(name, stages, raw)
        except UserError as error:
            errors += error.messages
            continue
        if (target := out / name).exists() and not (
            all(
                (file := target / f"{split}.csv").is_file() and read_table(file)[list(COLUMNS)].equals(table)
                for split, table in tables[name].items()
            )
            and (target / "images" / tables[name]["test"]["dir"].iloc[0]).is_file()
        ):
            errors.append(
                f"out={out}: {target} exists with other tables, or its images are not where they were. "
                "Remove it or give another out."
            )
    if errors:
        raise UserError(*errors)
    for name in (name for name in tables if not (out / name).exists()):
        try:
            _write_set(tables[name], {stage: folders[0] for stage, folders in found[name].items()}, out / name, copy)
        except OSError as error:
            raise UserError(
                f"out={out}: {out / name} cannot be written ({error}). Give another out"
                f"{'' if copy else ', or copy=true where links are not possible'}."
            ) from error
    return {
        name: {"classes": count_classes(parts), **{split: len(parts[split]) for split in SPLITS}}
        for name, parts in tables.items()
    }


def split_train_val(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The authors' rule: of each class the first `int(0.8 n)` rows are for training, the rest for validation."""
    classes = table.groupby("class_id")["dir"]
    is_train = classes.cumcount() < (TRAIN_SHARE * classes.transform("size")).astype(int)
    return table[is_train].reset_index(drop=True), table[~is_train].reset_index(drop=True)


def _image_folders(raw: Path) -> list[Path]:
    """The folders that hold `images/`, without results of earlier calls."""
    folders: list[Path] = []
    for depth in range(DEPTH + 1):
        for folder in sorted(images.parent for images in raw.glob("*/" * depth + "images") if images.is_dir()):
            is_hidden = any(part.startswith(".") for part in folder.relative_to(raw).parts)
            if not is_hidden and not any(other in folder.parents for other in folders):
                folders.append(folder)
    return [folder for folder in folders if not (folder / "test.csv").exists()]


def _read_set(name: str, stages: dict[str, list[Path]], raw: Path) -> Tables:
    """The split tables of one set; `dir` begins with the stage where there are several: `R1/images/x.png`.

    `train_val` is the rows of train.txt and then those of val.txt, one stage after the other.
    """
    errors = [
        f"{len(folders)} folders below raw={raw} are {f'{name} {stage}'.strip()} by their names: "
        f"{first_ten(folders)}. Give one of them as raw=."
        for stage, folders in stages.items()
        if folders[1:]
    ]
    if missing := [stage for stage in SETS[name].stages if stage not in stages]:
        errors.append(
            f"{name} below raw={raw} lacks {first_ten(missing)}. It is pooled from the folders "
            f"{', '.join(STAGES)}, each with images/ and anno/."
        )
    if errors:
        raise UserError(*errors)
    rows: dict[str, list] = {"train_val": [], "test": []}
    for stage in SETS[name].stages:
        try:
            parts = _read_release_folder(stages[stage][0], SETS[name].labelled_names)
        except UserError as error:
            errors += error.messages
            continue
        prefix = f"{stage}/images/" if stage else ""
        # A val.txt that repeats rows of train.txt adds nothing.
        for split, part in (("train_val", dict.fromkeys(parts["train"] + parts["val"])), ("test", parts["test"])):
            rows[split] += [(label - 1, prefix + image) for label, image in part]
    if errors:
        raise UserError(*errors)
    tables = {split: pd.DataFrame(part, columns=list(COLUMNS)) for split, part in rows.items()}
    train, val = split_train_val(tables["train_val"])
    if train.empty:
        raise UserError(f"{name}: no class has two images in train.txt and val.txt, so none can be set aside for val.")
    tables = {"train": train, "val": val, **tables}
    if errors := [
        f"{name} (class ids counted from 0): {error}" for error in table_errors(tables, "train_val", ["test"])
    ]:
        raise UserError(*errors)
    return tables


def _read_release_folder(folder: Path, labelled_names: bool) -> dict[str, list[tuple[int, str]]]:
    """The rows of one folder for `train`, `val` and `test`: class, counted from 1, and image."""
    images = [path.relative_to(folder / "images").as_posix() for path in list_images(folder / "images")]
    rows: dict[str, list] = {"train": [], "val": [], "test": []}
    if labelled_names and not (folder / "anno").is_dir():
        matches = {image: FILE_NAME.fullmatch(image) for image in sorted(images, key=natural_key)}
        for image, match in matches.items():
            if match is not None:
                rows[match["part"]].append((int(match["label"]), image))
        strange = [image for image, match in matches.items() if match is None]
        if strange or not rows["train"] or not rows["test"]:
            raise UserError(
                f"{folder} has no anno/, so its images must be named CLASS_INDEX_train.png or "
                f"CLASS_INDEX_test.png, some of each; other names: {first_ten(strange) or 'none'}."
            )
        return rows
    by_name = {image.rsplit(".", 1)[0]: image for image in images} | {image: image for image in images}
    errors = []
    for part in rows:
        file = folder / "anno" / f"{part}.txt"
        if part == "val" and not file.exists():
            continue
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            errors.append(f"{file} cannot be read: {error}.")
            continue
        bad, missing = [], []
        for number, line in enumerate(lines, start=1):
            match = ANNO_LINE.fullmatch(line)
            if match is None:
                bad += [f"line {number} ({line!r})"] if line.strip() else []
            elif match["image"] not in by_name:
                missing.append(match["image"])
            else:
                rows[part].append((int(match["label"]), by_name[match["image"]]))
        if bad or not any(map(str.strip, lines)):
            errors.append(
                f"{file}: each line must be `name class` with a class from 1 on; wrong: "
                f"{first_ten(bad) or 'the file is empty'}."
            )
        if missing:
            errors.append(
                f"{file} names {len(missing)} images that are not in {folder / 'images'}: {first_ten(missing)}."
            )
    if errors:
        raise UserError(*errors)
    return rows


def _write_set(tables: Tables, stages: dict[str, Path], target: Path, copy: bool) -> None:
    """Write one set whole or not at all."""
    with atomic_folder(target) as draft:
        write_tables(tables, draft)
        for stage, folder in stages.items():
            images = draft / "images" / stage / "images" if stage else draft / "images"
            images.parent.mkdir(parents=True, exist_ok=True)
            if copy:
                shutil.copytree(folder / "images", images)
            else:
                images.symlink_to(os.path.abspath(folder / "images"), target_is_directory=True)
