"""Procedural leaves: cultivars of one invented vine species, an ultra-fine-grained data set without a download."""

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from PIL import Image
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ufgir.data.images import thread_map, track
from ufgir.data.leaves.cultivar import Cultivar, cultivar_name
from ufgir.data.leaves.photo import photograph
from ufgir.data.tables import COLUMNS, Tables, write_tables
from ufgir.utils import atomic_folder

_REVISION = 1  # raise it when the pictures change: folders of another revision are left alone
_SPLITS = ("train", "val", "test")
_OVERSAMPLE = 1.5


Count = Annotated[int, Field(ge=1, strict=True)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LeavesSpec:
    """Everything that decides the images.

    Args:
        classes: number of cultivars.
        train, val, test: images per class and split.
        size: side of the square images, pixels.
        seed: another seed gives other cultivars and other photographs.

    Raises:
        ValidationError: values of another type, or too small.
    """

    classes: Annotated[int, Field(ge=2, strict=True)] = 20
    train: Count = 6
    val: Count = 2
    test: Count = 10
    size: Annotated[int, Field(ge=32, strict=True)] = 256
    seed: Annotated[int, Field(ge=0, strict=True)] = 0


def class_names(spec: LeavesSpec) -> list[str]:
    """The cultivars' names in the order of their class ids."""
    return [cultivar_name(spec.seed, class_id) for class_id in range(spec.classes)]


def tables(spec: LeavesSpec) -> Tables:
    """The split tables of a specification, whether or not it is rendered."""
    rows: dict[str, list] = {split: [] for split in _SPLITS}
    for path, class_id, split, _ in _images(spec):
        rows[split].append((class_id, path))
    rows["train_val"] = rows["train"] + rows["val"]
    return {split: pd.DataFrame(part, columns=list(COLUMNS)) for split, part in rows.items()}


def folder(spec: LeavesSpec, root: Path) -> Path:
    """Where below `root` a specification is, or will be, rendered."""
    counts = f"{spec.classes}x{spec.train}+{spec.val}+{spec.test}"
    return Path(root) / f"{counts}_{spec.size}px_seed{spec.seed}_r{_REVISION}"


def render(spec: LeavesSpec, root: Path, progress: bool = True) -> Path:
    """Render a specification into `folder(spec, root)`, unless it is there already.

    The folder appears whole or not at all. The same specification gives the same bytes on the same machine, and each
    image depends only on seed, size, class, split and its number, so other counts leave it as it is.

    Args:
        progress: show a bar on standard error if that is a terminal, else one line.

    Returns:
        the folder with `train.csv, val.csv, train_val.csv, test.csv, classid_classname.csv` and `images/`.
    """
    target, jobs = folder(spec, root), _images(spec)
    if target.exists():
        return target
    text = f"rendering {len(jobs)} leaves of {spec.classes} cultivars"
    if progress and not sys.stderr.isatty():
        print(f"{text} into {target}", file=sys.stderr)
    with atomic_folder(target) as draft:

        def save(job: tuple[str, int, str, int]) -> None:
            path = draft / "images" / job[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            image(spec, *job[1:]).save(path, quality=92, subsampling=0)

        for _ in track(thread_map(save, jobs, ahead=64), len(jobs), text, show=progress):
            pass
        write_tables(tables(spec), draft, class_names(spec))
    return target


def image(spec: LeavesSpec, class_id: int, split: str, index: int) -> Image.Image:
    """One photograph, RGB of `spec.size` pixels."""
    rng = np.random.default_rng(np.random.SeedSequence([spec.seed, class_id, _SPLITS.index(split), index]))
    return photograph(Cultivar.draw(spec.seed, class_id), spec.size, round(spec.size * _OVERSAMPLE), rng)


def _images(spec: LeavesSpec) -> list[tuple[str, int, str, int]]:
    """Path below `images/`, class id, split and number of each image."""
    return [
        (f"{class_id}_{cultivar}/{split}_{index}.jpg", class_id, split, index)
        for class_id, cultivar in enumerate(class_names(spec))
        for split in _SPLITS
        for index in range(getattr(spec, split))
    ]
