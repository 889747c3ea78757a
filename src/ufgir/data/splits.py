"""The images of a run: which to train, validate and test on, out of CSV tables, class folders or procedural leaves."""

import functools
import hashlib
import inspect
import posixpath
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field, StrictInt, ValidationError, validate_call

from ufgir.data import leaves
from ufgir.data.images import list_images
from ufgir.data.leaves import LeavesSpec
from ufgir.data.tables import (
    COLUMNS,
    SPLITS,
    Tables,
    count_classes,
    read_class_names,
    read_table,
    table_errors,
    write_tables,
)  # fmt: skip
from ufgir.data.ultra_fgvc import SETS
from ufgir.errors import UfgirWarning, UserError
from ufgir.utils import expand_path, first_ten, natural_key

PROTOCOLS = {  # protocol -> role -> table
    "test": {"train": "train_val", "test": "test"},
    "val": {"train": "train", "val": "val"},
    "holdout": {"train": "train", "val": "val", "test": "test"},
    "cv": {},
}
FORMATS = {  # format -> what its root is
    "csv": "a folder with train_val.csv and test.csv (other protocols: train.csv, val.csv) under the header "
    "class_id,dir and with the images below DIR/images; dataset=folder takes plain class folders instead.",
    "folder": "a folder that holds one folder of images for each class.",
    "leaves": "where the leaves are to be rendered.",
}
Share = Annotated[float, Field(gt=0, lt=1, strict=True)]


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
    leaves: LeavesSpec | None = field(default=None, repr=False)

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
        if self.leaves is None:
            return
        root = self.image_root.parents[1]
        try:
            leaves.render(self.leaves, root, progress)
        except OSError as error:
            raise UserError(
                f"dataset.root={root}: the leaves could not be written there ({error}). "
                "Give a folder that can be written."
            ) from error


def checked(function: Callable[..., Splits]) -> Callable[..., Splits]:
    """The same function, whose arguments must have the annotated types.

    Raises:
        UserError: with each argument of another type or range, and what is allowed.
    """
    validated, names = validate_call(function), list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Splits:
        try:
            return validated(*args, **kwargs)
        except ValidationError as error:
            messages = []
            for details in error.errors(include_url=False):
                first, *inner = details["loc"]
                first = names[first] if isinstance(first, int) else first  # a positional argument
                first = first if first in ("protocol", "fold", "folds", "seed") else f"dataset.{first}"
                key, text = ".".join(map(str, (first, *inner))), details["msg"].replace("Input should be", "expected")
                messages.append(f"{key}={details['input']}: {text}.")
            raise UserError(*messages) from error

    return call


@checked
def load_splits(
    root: Path | None,
    format: Literal["csv", "folder", "leaves"] = "csv",
    images: str = "images",
    protocol: Literal["test", "val", "holdout", "cv"] = "test",
    fold: StrictInt = 0,
    folds: StrictInt = 5,
    groups: str | None = None,
    seed: StrictInt = 1,
    val_fraction: Share = 0.2,
    test_fraction: Share = 0.3,
    train_images: Annotated[int, Field(ge=1, strict=True)] | None = None,
    expected: Mapping[str, StrictInt] | None = None,
    render: LeavesSpec | None = None,
    name: str | None = None,
) -> Splits:
    """Read and check the tables of a data set. No image is opened and nothing is rendered.

    The arguments are those of `ImageDataModule`. What `write_splits` wrote is read back by the same arguments but for
    `format="csv"`, `root` (the folder written) and `images` (the absolute image folder).

    Raises:
        UserError: with all errors of the data set.
    """
    name = name or format
    checks = [
        ("fold", fold, protocol != "cv" or (folds > 1 and 0 <= fold < folds), f"0 to folds-1 (folds={folds}, above 1)"),
        (
            "dataset.test_fraction",
            test_fraction,
            test_fraction < 1 - val_fraction,
            f"together with dataset.val_fraction={val_fraction} below 1",
        ),
    ]
    errors = [f"{key}={value}: expected {allowed}." for key, value, is_valid, allowed in checks if not is_valid]
    remedy = f"Give dataset.root=DIR, {FORMATS[format]}"
    if name in SETS:
        remedy = (
            f"{name} belongs to the Ultra-FGVC release (https://github.com/XiaohanYu-GU/Ultra-FGVC). Unpack it, "
            f"run `python -m ufgir.prepare raw=DIR out=DIR`, and give dataset.root=DIR/{name}, "
            "or DIR as data_root or in the variable UFGIR_DATA."
        )
    spec = None if format != "leaves" else render or LeavesSpec()
    if root is None:
        errors.append(f"dataset.root is missing. {remedy}")
    elif not (folder := expand_path("dataset.root", root)).is_dir() and (folder.exists() or format != "leaves"):
        errors.append(f"dataset.root={root} {'is not a folder' if folder.exists() else 'does not exist'}. {remedy}")
    elif format != "leaves" and not (image_root := folder / expand_path("dataset.images", images)).is_dir():
        errors.append(f"dataset.images={images}: there is no image folder {image_root}.")
    if errors:
        raise UserError(*errors)
    if spec is not None:
        image_root = leaves.folder(spec, folder) / "images"
        tables, class_names = leaves.tables(spec), leaves.class_names(spec)
    elif format == "folder":
        tables, class_names = split_folder(image_root, val_fraction, test_fraction, seed)
    else:
        tables, class_names = _read_csv_folder(folder, name, protocol, expected or {}, remedy)
    columns = dict.fromkeys((*COLUMNS, groups))
    tables = {split: table[[name for name in columns if name in table]] for split, table in tables.items()}
    if protocol == "cv":
        names = None if groups is None else group_names(tables, groups)
        chosen = dict(zip(("train", "test"), cross_validation(tables, fold, folds, seed, names), strict=True))
    else:
        chosen = {role: tables[split] for role, split in PROTOCOLS[protocol].items()}
    if train_images is not None and train_images < (rows := len(chosen["train"])):
        chosen["train"] = chosen["train"].iloc[[number * rows // train_images for number in range(train_images)]]
    return Splits(name, tables, image_root, class_names, leaves=spec, **chosen)


def _read_csv_folder(
    folder: Path, name: str, protocol: str, expected: Mapping[str, int], remedy: str
) -> tuple[Tables, list[str]]:
    """All tables of a CSV data set, checked for a protocol and against the published counts, and the class names."""
    tables, errors = {}, []
    present = [split for split in SPLITS if (folder / f"{split}.csv").exists()]
    for split in present:
        try:
            tables[split] = read_table(folder / f"{split}.csv")
        except UserError as error:
            errors += error.messages
    train, *tested = PROTOCOLS[protocol].values() or [None]
    wanted = [train, *tested] if train else [] if present else SPLITS
    if missing := [split for split in wanted if split not in present]:
        if missing == ["train_val"] and {"train", "val"} <= set(present):
            remedy = "Concatenate train.csv and val.csv into it, or use protocol=holdout."
        files = " and no ".join(f"{split}.csv" for split in missing)
        errors.append(f"dataset.root={folder} has no {files} for protocol={protocol}. {remedy}")
    if tables:
        errors += [f"dataset.root={folder}: {error}" for error in table_errors(tables, train, tested)]
        counts = {"classes": count_classes(tables), **{split: len(table) for split, table in tables.items()}}
        wrong = [
            f"{key}={counts[key]} instead of {count}"
            for key, count in expected.items()
            if counts.get(key, count) != count
        ]
        if wrong:
            errors.append(
                f"dataset.root={folder} is not {name} as dataset.expected says: {', '.join(wrong)}. "
                f"For a part of it use dataset=csv dataset.root={folder}."
            )
    if errors:
        raise UserError(*errors)
    return tables, read_class_names(folder, tables)


def write_splits(splits: Splits, folder: Path) -> None:
    """Write the tables and the class names into a folder, which is made if it does not exist."""
    write_tables(splits.tables, folder, splits.class_names)


def group_names(tables: Tables, groups: str) -> dict[str, str]:
    """The group of each image (`dir`): a column of the tables, or what a regular expression finds in its path.

    Raises:
        UserError: it is neither, or there is no group of some images.
    """
    names: dict[str, str] = {}
    for split, table in tables.items():
        if groups in set(table.columns) - set(COLUMNS):
            found = table[groups].str.strip()
            if missing := table["dir"][found == ""].tolist():
                raise UserError(
                    f"dataset.groups={groups}: the column is empty in {split}.csv for {first_ten(missing)}."
                )
        else:
            try:
                found = table["dir"].str.extract(f"({groups})" if re.compile(groups).groups == 0 else groups)[0]
            except re.error as error:
                raise UserError(
                    f"dataset.groups={groups}: neither a column of {split}.csv nor a regular expression ({error})."
                ) from error
            if missing := table["dir"][found.isna()].tolist():
                raise UserError(
                    f"dataset.groups={groups}: not a column of {split}.csv, and as a regular expression it "
                    f"finds nothing in {first_ten(missing)}."
                )
        names |= dict(zip(table["dir"], found, strict=True))
    return names


def cross_validation(
    tables: Tables, fold: int, folds: int, seed: int, groups: Mapping[str, str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to train and to test on in one of several stratified folds over the images of all tables.

    Each image is in one fold. The folds of a class differ by one image at most, and so do whole folds. With `groups`,
    image -> group, the images of a group share a fold, and folds are about equal.

    Raises:
        UserError: there are fewer images than folds, or a class has one only, so that none would be left to train on.
    """
    rows = pd.concat([tables[split] for split in SPLITS if split in tables], ignore_index=True)
    rows = rows[~rows["dir"].map(posixpath.normpath).duplicated()].reset_index(drop=True)
    sizes = rows["class_id"].value_counts().sort_index()
    if single := sizes.index[sizes < 2].tolist():
        raise UserError(
            f"protocol=cv needs two images of each class, but has one of class {first_ten(single)}. "
            "Add images or remove these classes: no number of folds can train on them."
        )
    if folds > len(rows):
        raise UserError(f"folds={folds} is more than the {len(rows)} images. Give at most {len(rows)}.")
    if few := sizes.index[sizes < folds].tolist():
        warnings.warn(
            f"folds={folds}: class {first_ten(few)} has fewer images than folds, so some folds test no image "
            f"of it. With folds={sizes.min()} each fold tests every class.",
            UfgirWarning,
            stacklevel=2,
        )
    if groups is not None:
        tested = rows["dir"].map(_group_folds(rows, rows["dir"].map(groups), folds, seed)) == fold
        return rows[~tested].reset_index(drop=True), rows[tested].reset_index(drop=True)
    draws = rows["dir"].map(lambda path: _draw(seed, posixpath.normpath(path)))
    order = rows.assign(draw=draws).sort_values(["class_id", "draw"]).index
    # Dealt out like cards, class after class: the next class goes on where the last one ended.
    tested = rows.index.isin(order[fold::folds])
    return rows[~tested].reset_index(drop=True), rows[tested].reset_index(drop=True)


def _group_folds(rows: pd.DataFrame, groups: pd.Series, folds: int, seed: int) -> dict[str, int]:
    """The fold of each image (`dir`): each group goes where its classes, and then all images, are fewest.

    Classes come one after the other, of each class the large groups first: the small ones even out the folds.
    """
    if few := [number for number, names in groups.groupby(rows["class_id"]) if names.nunique() < 2]:
        warnings.warn(
            f"dataset.groups: all images of class {first_ten(few)} are in one group, so the fold that tests "
            "them is trained without them.",
            UfgirWarning,
            stacklevel=3,
        )
    sizes = pd.crosstab(groups, rows["class_id"])  # images of each group and class
    order = sorted(sizes.index, key=lambda n: (sizes.loc[n].to_numpy().argmax(), -sizes.loc[n].sum(), _draw(seed, n)))
    dealt = pd.DataFrame(0, index=range(folds), columns=sizes.columns)
    chosen = {}
    for name in order:
        classes = sizes.columns[sizes.loc[name] > 0]
        chosen[name] = min(range(folds), key=lambda k: (dealt.loc[k, classes].sum(), dealt.loc[k].sum(), k))
        dealt.loc[chosen[name]] += sizes.loc[name]
    return dict(zip(rows["dir"], groups.map(chosen), strict=True))


def split_folder(images: Path, val_fraction: float, test_fraction: float, seed: int) -> tuple[Tables, list[str]]:
    """Split the images below each class folder into train, val and test, at least one each.

    The same file names and seed give the same split on every machine. Returns the four tables and the class names,
    which are the folder names in natural order.

    Raises:
        UserError: there are too few folders, too few images in one, or names that are no UTF-8.
        OSError: a folder cannot be opened.
    """
    names = [path.name for path in images.iterdir() if path.is_dir() and not path.name.startswith(".")]
    names.sort(key=lambda name: (natural_key(name), name))
    rows: dict[str, list] = {split: [] for split in SPLITS}
    small, strange = [], []
    for class_id, name in enumerate(names):
        paths = [file.relative_to(images).as_posix() for file in list_images(images / name)]
        strange += [path for path in paths if path.encode(errors="ignore").decode() != path]
        if len(paths) < 3:
            small.append(f"{name} ({len(paths)})")
        drawn = sorted(paths, key=lambda path: _draw(seed, path)) if not strange else paths
        test = min(max(1, round(test_fraction * len(paths))), len(paths) - 2)
        val = min(max(1, round(val_fraction * len(paths))), len(paths) - 1 - test)
        parts = {"train": drawn[test + val :], "val": drawn[test : test + val], "test": drawn[:test]}
        for split, part in (*parts.items(), ("train_val", parts["train"]), ("train_val", parts["val"])):
            rows[split] += [(class_id, path) for path in paths if path in set(part)]
    errors = []
    if len(names) < 2:
        errors.append(
            f"{images} must hold one folder of images for each class, at least two; "
            f"it holds {first_ten(names) or 'none'}."
        )
    if strange:
        names_of = [path.encode(errors="backslashreplace").decode() for path in strange]
        errors.append(f"{images}: names of folders and files must be UTF-8, rename {first_ten(names_of)}.")
    if small:
        errors.append(
            f"{images}: each class needs at least 3 images, one each to train, validate and test; "
            f"too few in {first_ten(small)}."
        )
    if errors:
        raise UserError(*errors)
    return {split: pd.DataFrame(part, columns=list(COLUMNS)) for split, part in rows.items()}, names


def _draw(seed: int, path: str) -> bytes:
    """A random rank by a hash, not a generator: the same on every platform and version."""
    return hashlib.sha256(f"{seed}/{path}".encode()).digest()
