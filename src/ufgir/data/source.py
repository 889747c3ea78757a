"""Where the images of a run come from: split tables, image folder and class names, out of the node `dataset`."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pandas as pd

from ufgir.data import leaves
from ufgir.data.folder import split_folder
from ufgir.data.guidance import how_to_get
from ufgir.data.table_checks import table_faults
from ufgir.data.tables import Tables, num_classes, read_class_names, read_tables
from ufgir.errors import UserError
from ufgir.files import saving, typed_path

PROTOCOLS = {"test": ("train_val", "test"), "val": ("train", "val")}  # protocol → tables trained and tested on


@dataclass(frozen=True, eq=False)
class Source:
    """A data set under one protocol."""

    name: str
    tables: Tables  # all that exist, not only the two of the protocol
    image_root: Path  # `dir` in the tables is relative to it
    class_names: list[str]  # in the order of the class ids
    protocol: str
    render: Callable[..., object] | None = field(default=None, repr=False)  # draws images that are not there yet
    train_images: int | None = None  # so many of the training table, spread over it; None: all

    @property
    def train(self) -> pd.DataFrame:
        """The table trained on."""
        table = self.tables[PROTOCOLS[self.protocol][0]]
        if self.train_images is None or self.train_images >= len(table):
            return table
        return table.iloc[[number * len(table) // self.train_images for number in range(self.train_images)]]

    @property
    def test(self) -> pd.DataFrame:
        """The table tested on."""
        return self.tables[PROTOCOLS[self.protocol][1]]

    @property
    def num_classes(self) -> int:
        """Classes of the data set, also those that one table happens to lack."""
        return len(self.class_names)

    def paths(self, table: pd.DataFrame) -> list[Path]:
        """The image file of each row."""
        return [self.image_root / path for path in table["dir"]]

    def test_classes(self) -> dict[Path, int]:
        """Class id of each test image, by its absolute path."""
        numbers = map(int, self.test["class_id"])
        return {path.absolute(): number for path, number in zip(self.paths(self.test), numbers, strict=True)}

    def prepare(self, progress: bool = True) -> None:
        """Render a procedural data set unless that is done; any other is there already.

        Raises:
            UserError, RunFailed: it cannot be written, see `saving`.
        """
        if self.render is not None:
            with saving("dataset.root", self.image_root.parents[1]):
                self.render(progress=progress)


def load_source(dataset: dict, *, protocol: str, seed: int) -> Source:
    """`collect`, for callers without faults of their own to add.

    Raises:
        UserError: with all the faults.
    """
    source, faults = collect(dataset, protocol=protocol, seed=seed)
    if source is None:
        raise UserError(*faults)
    return source


def collect(dataset: dict, *, protocol: str, seed: int) -> tuple[Source | None, list[str]]:
    """Read the tables of a data set and check them; no image is opened and nothing is rendered.

    Args:
        dataset: the node `dataset`, resolved, validated and plain Python: name, format, root, images, ...; `images` may
            be absolute.
        protocol: `test` (train on train_val, test on test) or `val` (train on train, test on val).
        seed: decides the split of `format: folder`.

    Returns:
        the source and no fault, or None and a sentence for each fault.
    """
    root = dataset["root"]
    if root is None:
        return None, [f"dataset.root is missing. {how_to_get(dataset)}"]
    folder, misread = typed_path("dataset.root", root)
    if misread:
        return None, misread
    if folder.exists() and not folder.is_dir():
        return None, [f"dataset.root={root} is a file, not a folder. {how_to_get(dataset)}"]
    if not folder.exists() and dataset["format"] != "leaves":
        return None, [f"dataset.root={root} does not exist. {how_to_get(dataset)}"]
    if dataset["format"] == "leaves":
        source, faults = _from_leaves(dataset, folder, protocol), []
    elif dataset["format"] == "folder":
        source, faults = _from_folder(dataset, folder, protocol, seed)
    else:
        source, faults = _from_csv(dataset, folder, protocol)
    return source and replace(source, train_images=dataset.get("train_images")), faults


def _from_csv(dataset: dict, root: Path, protocol: str) -> tuple[Source | None, list[str]]:
    where = f"dataset.root={dataset['root']}"
    image_root, faults = _image_root(dataset, root)
    tables, found = read_tables(root)
    faults += found + _absence_faults(dataset, root, where, protocol)
    faults += table_faults(tables, where, *PROTOCOLS[protocol]) + _count_faults(dataset, tables, where)
    if faults:
        return None, faults
    class_names, faults = read_class_names(root, tables)
    return (None, faults) if faults else (Source(dataset["name"], tables, image_root, class_names, protocol), [])


def _image_root(dataset: dict, root: Path) -> tuple[Path, list[str]]:
    images, misread = typed_path("dataset.images", dataset["images"])
    if misread:
        return root, misread
    path = root / images
    return path, [] if path.is_dir() else [f"dataset.images={dataset['images']}: the image folder {path} is missing"]


def _absence_faults(dataset: dict, root: Path, where: str, protocol: str) -> list[str]:
    absent = [split for split in PROTOCOLS[protocol] if not (root / f"{split}.csv").exists()]
    if not absent:
        return []
    fault = f"{where} has no {' and no '.join(f'{split}.csv' for split in absent)}, which protocol={protocol} needs."
    if absent == ["train_val"] and all((root / f"{split}.csv").exists() for split in ("train", "val")):
        return [f"{fault} Make it from the two tables that are there: "
                f"`(cat {root}/train.csv; tail -n +2 {root}/val.csv) > {root}/train_val.csv`"]
    return [f"{fault} {how_to_get(dataset)}"]


def _count_faults(dataset: dict, tables: Tables, where: str) -> list[str]:
    """Differences from the counts that a named data set is known to have."""
    expected = dataset.get("expected")
    if not expected or not tables:
        return []
    found = {"classes": num_classes(tables), **{split: len(table) for split, table in tables.items()}}
    wrong = [f"{found[what]} {'classes' if what == 'classes' else f'images in {what}.csv'} instead of {count}"
             for what, count in expected.items() if what in found and found[what] != count]
    if not wrong:
        return []
    return [f"{where} is not {dataset['name']} as published: {', '.join(wrong)}. "
            f"For a selection of it use dataset=csv dataset.root={dataset['root']}"]


def _from_folder(dataset: dict, root: Path, protocol: str, seed: int) -> tuple[Source | None, list[str]]:
    image_root, faults = _image_root(dataset, root)
    if faults:
        return None, faults
    fractions = {word: dataset[word] for word in ("val_fraction", "test_fraction")}
    tables, class_names, faults = split_folder(image_root, seed=seed, **fractions)
    return (None, faults) if faults else (Source(dataset["name"], tables, image_root, class_names, protocol), [])


def _from_leaves(dataset: dict, root: Path, protocol: str) -> Source:
    spec = leaves.LeavesSpec(**dataset["render"])
    return Source(
        dataset["name"],
        leaves.tables(spec),
        leaves.folder(spec, root) / dataset["images"],
        leaves.class_names(spec),
        protocol,
        render=partial(leaves.render, spec, root),
    )
