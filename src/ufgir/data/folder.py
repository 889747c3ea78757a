"""Your own images: a folder with one folder per class, split by us."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ufgir.data.images import image_endings
from ufgir.data.tables import Tables
from ufgir.data.wording import listed

FEWEST = 3  # images of a class: one each to train, validate and test


def split_folder(
    images: Path, *, val_fraction: float, test_fraction: float, seed: int
) -> tuple[Tables, list[str], list[str]]:
    """Split the images below each class folder into train, val and test, at least one each.

    The same names and seed give the same split on every machine; another seed gives another.

    Args:
        images: folder of the class folders; whatever is hidden or no image is passed over.
        val_fraction, test_fraction: shares of each class's images, each in (0, 1).

    Returns:
        the four tables, the class names (folder names in natural order), and a sentence for each fault;
        tables and names are empty when there is one.
    """
    faults = _fraction_faults(val_fraction, test_fraction)
    classes = {folder.name: image_files(folder) for folder in _sorted(images.iterdir()) if _is_class(folder)}
    if len(classes) < 2:
        faults.append(f"{images} must hold one folder of images for each class, at least two; "
                      f"it holds {listed(list(classes)) or 'none'}")
    small = [f"{name} ({len(files)})" for name, files in classes.items() if len(files) < FEWEST]
    if small:
        faults.append(f"{images}: each class needs at least {FEWEST} images, one each to train, validate and test; "
                      f"too few in {listed(small)}")
    if faults:
        return {}, [], faults
    parts = [_split(files, images, val_fraction, test_fraction, seed) for files in classes.values()]
    return _tables(parts), list(classes), []


def _fraction_faults(val_fraction: float, test_fraction: float) -> list[str]:
    if val_fraction + test_fraction < 1:
        return []
    return [f"dataset.val_fraction={val_fraction} and dataset.test_fraction={test_fraction} leave nothing to train on; "
            "their sum must be below 1"]


def _sorted(paths: Iterable[Path]) -> list[Path]:
    """In the order of people: class 2 before class 10."""
    return sorted(paths, key=lambda path: (natural(path.name), str(path)))


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key under which numbers inside names count as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", name) if part]


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def image_files(folder: Path) -> list[Path]:
    """All files below `folder`, at any depth, with the ending of an image; nothing hidden."""
    endings = image_endings()
    found = (path for path in folder.rglob("*") if path.suffix.lower() in endings and path.is_file())
    return _sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _split(
    files: list[Path], images: Path, val_fraction: float, test_fraction: float, seed: int
) -> dict[str, list[str]]:
    """One class's images, as paths below `images`, in natural order within each part."""
    paths = [file.relative_to(images).as_posix() for file in files]
    # Drawn by a hash, not by a generator: the same on every platform and version.
    drawn = sorted(paths, key=lambda path: hashlib.sha256(f"{seed}/{path}".encode()).digest())
    test = min(max(1, round(test_fraction * len(paths))), len(paths) - 2)
    val = min(max(1, round(val_fraction * len(paths))), len(paths) - 1 - test)
    where = {path: "test" if place < test else "val" if place < test + val else "train"
             for place, path in enumerate(drawn)}
    return {split: [path for path in paths if where[path] == split] for split in ("train", "val", "test")}


def _tables(parts: list[dict[str, list[str]]]) -> Tables:
    def table(*splits: str) -> pd.DataFrame:
        rows = [(number, path) for number, part in enumerate(parts) for split in splits for path in part[split]]
        return pd.DataFrame(rows, columns=["class_id", "dir"])

    return {"train": table("train"), "val": table("val"), "train_val": table("train", "val"), "test": table("test")}
