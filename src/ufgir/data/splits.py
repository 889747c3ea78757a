"""The images of a run: which to train, validate and test on, out of CSV tables, class folders or procedural leaves."""

import hashlib
import posixpath
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

import pandas as pd

from ufgir.data import leaves
from ufgir.data.images import list_images
from ufgir.data.tables import (
    COLUMNS,
    SPLITS,
    Tables,
    count_classes,
    first_ten,
    read_class_names,
    read_table,
    table_errors,
    write_tables,
)
from ufgir.errors import UfgirWarning, UserError, did_you_mean
from ufgir.utils import expand_path, natural_key

FORMATS = ("csv", "folder", "leaves")
PROTOCOLS = {  # protocol -> role -> table
    "test": {"train": "train_val", "test": "test"},
    "val": {"train": "train", "val": "val"},
    "holdout": {"train": "train", "val": "val", "test": "test"},
    "cv": {},
}
RELEASE = "the Ultra-FGVC release (Yu et al., ICCV 2021; https://github.com/XiaohanYu-GU/Ultra-FGVC)"


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set under one protocol.

    Args:
        name: of the data set.
        tables: all tables that exist, not only those of the protocol.
        image_root: folder to which `dir` in the tables is relative.
        class_names: in the order of the class ids.
        train, val, test: the tables that the protocol uses in these roles, else None.
        leaves: what to render into `image_root` before images are read (`format=leaves`).
    """

    name: str
    tables: Tables
    image_root: Path
    class_names: list[str]
    train: pd.DataFrame
    val: pd.DataFrame | None = None
    test: pd.DataFrame | None = None
    leaves: "leaves.LeavesSpec | None" = field(default=None, repr=False)

    @property
    def num_classes(self) -> int:
        """Classes of the whole data set."""
        return len(self.class_names)

    @property
    def roles(self) -> Tables:
        """The tables in use by their role: `train`, and `val` or `test` or both."""
        return {role: table for role in ("train", "val", "test") if (table := getattr(self, role)) is not None}

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal digits of the contents of `roles`: equal on every machine for equal tables."""
        digest = hashlib.sha256()
        for role, table in self.roles.items():
            digest.update(f"{role} {table[list(COLUMNS)].values.tolist()}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def paths(self, table: pd.DataFrame) -> list[Path]:
        """The image file of each row."""
        return [self.image_root / path for path in table["dir"]]

    def render(self, progress: bool = True) -> None:
        """Render the procedural leaves unless they are there; other data sets are left alone.

        Raises:
            UserError: their folder cannot be written.
        """
        if self.leaves is not None:
            root = self.image_root.parents[1]
            try:
                leaves.render(self.leaves, root, progress)
            except OSError as error:
                raise UserError(f"dataset.root={root}: the leaves could not be written there ({error}). "
                                "Give a folder that can be written.") from error


def load_splits(
    root: str | Path | None,
    format: str = "csv",
    images: str = "images",
    protocol: str = "test",
    fold: int = 0,
    folds: int = 5,
    seed: int = 1,
    val_fraction: float = 0.2,
    test_fraction: float = 0.3,
    train_images: int | None = None,
    expected: Mapping[str, int] | None = None,
    render: Mapping[str, int] | None = None,
    name: str | None = None,
) -> Splits:
    """Read and check the tables of a data set. No image is opened and nothing is rendered.

    The arguments are those of `ImageDataModule`. What `write_splits` wrote is read back by the same arguments but for
    `format="csv"`, `root` (the folder written) and `images` (the absolute image folder).

    Raises:
        UserError: with all errors of the data set.
    """
    name = name or format
    errors = list(_argument_errors(format, protocol, fold, folds, val_fraction, test_fraction, train_images, render))
    how_to_get = _how_to_get(name, format, images, expected)
    folder = Path()
    if root is None:
        errors.append(f"dataset.root is missing. {how_to_get}")
    else:
        folder = expand_path("dataset.root", root)
        if folder.exists() and not folder.is_dir():
            errors.append(f"dataset.root={root} is not a folder. {how_to_get}")
        elif not folder.exists() and format != "leaves":
            errors.append(f"dataset.root={root} does not exist. {how_to_get}")
    if errors:
        raise UserError(*errors)
    spec, tables = None, {}
    if format == "leaves":
        spec = leaves.LeavesSpec(**(render or {}))
        tables, class_names = leaves.tables(spec), leaves.class_names(spec)
        image_root = leaves.folder(spec, folder) / "images"
    else:
        image_root = folder / expand_path("dataset.images", images)
        if not image_root.is_dir():
            errors.append(f"dataset.images={images}: there is no image folder {image_root}.")
    where = f"dataset.root={root}"
    if format == "folder" and not errors:
        tables, class_names = split_folder(image_root, val_fraction, test_fraction, seed)
    if format == "csv":
        present = [split for split in SPLITS if (folder / f"{split}.csv").exists()]
        for split in present:
            try:
                tables[split] = read_table(folder / f"{split}.csv")
            except UserError as error:
                errors += error.messages
        errors += _missing_tables(present, where, protocol, how_to_get)
        roles = PROTOCOLS[protocol]
        errors += [f"{where}: {error}" for error in table_errors(tables, roles.get("train"), list(roles.values())[1:])]
        errors += _count_errors(tables, where, name, expected)
    if protocol == "cv" and not errors:
        try:
            train, test = cross_validation(tables, fold, folds, seed)
        except UserError as error:
            errors += error.messages
    if errors:
        raise UserError(*errors)
    if format == "csv":
        class_names = read_class_names(folder, tables)
    chosen = {role: tables[split] for role, split in PROTOCOLS[protocol].items()}
    if protocol == "cv":
        chosen = {"train": train, "test": test}
    if train_images is not None and train_images < (rows := len(chosen["train"])):
        chosen["train"] = chosen["train"].iloc[[number * rows // train_images for number in range(train_images)]]
    return Splits(name, tables, image_root, class_names, leaves=spec, **chosen)


def write_splits(splits: Splits, folder: Path) -> None:
    """Write the tables and the class names into a folder, which is made if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(splits.tables, folder, splits.class_names)


def cross_validation(tables: Tables, fold: int, folds: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to train and to test on in one of several stratified folds over the images of all tables.

    Each image is in one fold. The folds of a class differ by one image at most, and so do whole folds.

    Raises:
        UserError: a class has one image only, so that no image of it would be left to train on.
    """
    rows = pd.concat([tables[split] for split in SPLITS if split in tables], ignore_index=True)
    rows = rows[~rows["dir"].map(posixpath.normpath).duplicated()].reset_index(drop=True)
    sizes = rows["class_id"].value_counts().sort_index()
    errors = []
    if len(single := sizes.index[sizes < 2].tolist()):
        errors.append(f"protocol=cv needs two images of each class, but has one of class {first_ten(single)}. "
                      "Add images or remove these classes: no number of folds can train on them.")
    if folds > len(rows):
        errors.append(f"folds={folds} is more than the {len(rows)} images; the largest possible value is {len(rows)}.")
    if errors:
        raise UserError(*errors)
    if len(few := sizes.index[sizes < folds].tolist()):
        warnings.warn(f"folds={folds}: class {first_ten(few)} has fewer images than folds, so some folds test no image "
                      f"of it. With folds={sizes.min()} each fold tests every class.", UfgirWarning, stacklevel=2)
    order = rows["dir"].map(lambda path: _draw(seed, posixpath.normpath(path)))
    order = pd.DataFrame({"class_id": rows["class_id"], "draw": order}).sort_values(["class_id", "draw"]).index
    # Dealt out like cards, class after class: the next class goes on where the last one ended.
    tested = rows.index.isin(order[fold::folds])
    return rows[~tested].reset_index(drop=True), rows[tested].reset_index(drop=True)


def split_folder(images: Path, val_fraction: float, test_fraction: float, seed: int) -> tuple[Tables, list[str]]:
    """Split the images below each class folder into train, val and test, at least one each.

    The same file names and seed give the same split on every machine.

    Args:
        images: folder of the class folders; hidden files and files of other types are ignored.
        val_fraction, test_fraction: shares of each class's images, in (0, 1).

    Returns:
        the four tables and the class names, which are the folder names in natural order.

    Raises:
        UserError: with all errors of the folder.
    """
    folders = [path for path in images.iterdir() if path.is_dir() and not path.name.startswith(".")]
    folders.sort(key=lambda path: (natural_key(path.name), path.name))
    classes = {folder.name: list_images(folder)[0] for folder in folders}
    errors = []
    if len(classes) < 2:
        errors.append(f"{images} must hold one folder of images for each class, at least two; "
                      f"it holds {first_ten(list(classes)) or 'none'}.")
    if small := [f"{name} ({len(files)})" for name, files in classes.items() if len(files) < 3]:
        errors.append(f"{images}: each class needs at least 3 images, one each to train, validate and test; "
                      f"too few in {first_ten(small)}.")
    if errors:
        raise UserError(*errors)
    rows: dict[str, list] = {split: [] for split in SPLITS}
    for class_id, files in enumerate(classes.values()):
        paths = [file.relative_to(images).as_posix() for file in files]
        drawn = sorted(paths, key=lambda path: _draw(seed, path))
        test = min(max(1, round(test_fraction * len(paths))), len(paths) - 2)
        val = min(max(1, round(val_fraction * len(paths))), len(paths) - 1 - test)
        parts = {"test": set(drawn[:test]), "val": set(drawn[test : test + val]), "train": set(drawn[test + val :])}
        for split in ("train", "val", "test"):
            rows[split] += [(class_id, path) for path in paths if path in parts[split]]
        rows["train_val"] += rows["train"][-len(parts["train"]) :] + rows["val"][-val:]
    return {split: pd.DataFrame(part, columns=list(COLUMNS)) for split, part in rows.items()}, list(classes)


def _draw(seed: int, path: str) -> bytes:
    """A random rank by a hash, not a generator: the same on every platform and version."""
    return hashlib.sha256(f"{seed}/{path}".encode()).digest()


def _argument_errors(
    format: str, protocol: str, fold: int, folds: int, val_fraction: float, test_fraction: float,
    train_images: int | None, render: Mapping[str, int] | None,
) -> Iterator[str]:
    for key, value, choices in (("dataset.format", format, FORMATS), ("protocol", protocol, PROTOCOLS)):
        if value not in choices:
            yield f"{key}={value} is not one of {', '.join(choices)}.{did_you_mean(value, choices)}"
    if protocol == "cv":
        if folds < 2:
            yield f"folds={folds} must be at least 2."
        elif not 0 <= fold < folds:
            yield f"fold={fold} must be between 0 and {folds - 1} with folds={folds}."
    if format == "folder":
        fractions = {"val_fraction": val_fraction, "test_fraction": test_fraction}
        outside = [f"dataset.{key}={value} must be between 0 and 1." for key, value in fractions.items()
                   if not 0 < value < 1]
        yield from outside
        if not outside and val_fraction + test_fraction >= 1:
            yield (f"dataset.val_fraction={val_fraction} and dataset.test_fraction={test_fraction} leave nothing to "
                   "train on. Their sum must be below 1.")
    if train_images is not None and train_images < 1:
        yield f"dataset.train_images={train_images} must be at least 1, or null for all."
    known = {each.name: {"classes": 2, "size": 32, "seed": 0}.get(each.name, 1) for each in fields(leaves.LeavesSpec)}
    for key, value in (render or {}).items():
        if key not in known:
            yield f"dataset.render.{key} is not one of {', '.join(known)}.{did_you_mean(key, known)}"
        elif value < known[key]:
            yield f"dataset.render.{key}={value} must be at least {known[key]}."


def _missing_tables(present: list[str], where: str, protocol: str, how_to_get: str) -> Iterator[str]:
    missing = [split for split in PROTOCOLS[protocol].values() if split not in present]
    if protocol == "cv" and not present:
        yield f"{where} has none of {', '.join(f'{split}.csv' for split in SPLITS)}. {how_to_get}"
    elif missing:
        remedy = how_to_get
        if missing == ["train_val"] and {"train", "val"} <= set(present):
            remedy = "Concatenate train.csv and val.csv into it, or use protocol=holdout."
        yield f"{where} has no {' and no '.join(f'{split}.csv' for split in missing)} for protocol={protocol}. {remedy}"


def _count_errors(tables: Tables, where: str, name: str, expected: Mapping[str, int] | None) -> Iterator[str]:
    """Differences from the published counts of a named data set."""
    if not expected or not tables:
        return
    found = {"classes": count_classes(tables), **{split: len(table) for split, table in tables.items()}}
    wrong = [f"{found[what]} {'classes' if what == 'classes' else f'images in {what}.csv'} instead of {count}"
             for what, count in expected.items() if what in found and found[what] != count]
    if wrong:
        yield f"{where} is not {name} as published: {', '.join(wrong)}. For a part of it use dataset=csv {where}."


def _how_to_get(name: str, format: str, images: str, expected: Mapping[str, int] | None) -> str:
    if expected:  # only the named sets have published counts
        return (f"{name} belongs to {RELEASE}. Unpack it, run `python -m ufgir.prepare raw=DIR out=DIR`, "
                f"and give dataset.root=DIR/{name}, or DIR as data_root or in the variable UFGIR_DATA.")
    if format == "folder":
        return "Give dataset.root=DIR, a folder that holds one folder of images for each class."
    if format == "leaves":
        return "Give dataset.root=DIR, where the leaves are to be rendered."
    return ("Give dataset.root=DIR, a folder with train_val.csv and test.csv (other protocols: train.csv, val.csv) "
            f"under the header class_id,dir and with the images below DIR/{images}; "
            "dataset=folder takes plain class folders instead.")
