"""Images to check an exported model on: those that its run was tested on, wherever they can be found."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ufgir.data import Source, collect
from ufgir.data.tables import read_tables
from ufgir.data.transforms import ImageTransform
from ufgir.runs.folder import RunFolder

MOST = 16


@dataclass(frozen=True)
class Examples:
    """Prepared images (n, 3, S, S), and in words which they are."""

    images: Tensor
    what: str


def find_examples(config: Mapping[str, Any], folder: RunFolder | None) -> Examples:
    """Up to 16 images, spread evenly over the test table; noise where there are none on this machine.

    Args:
        config: names the data set.
        folder: of the run whose own tables count; None: those of the data set as it is now.
    """
    source, faults = collect(config["dataset"], protocol=config["protocol"], seed=config["seed"])
    if source is not None and folder is not None:
        source, faults = _with_tables_of(folder, source)
    if source is None:
        return _noise(config, faults[0])
    paths = [path for path in source.paths(source.test) if path.is_file()]
    if not paths:
        return _noise(config, f"no image of the test table lies below {source.image_root}")
    chosen = [paths[number * len(paths) // MOST] for number in range(MOST)] if len(paths) > MOST else paths
    images, reason = _prepared(chosen, ImageTransform(config["dataset"]["resize"], config["image_size"]))
    if not images:
        return _noise(config, reason)
    return Examples(torch.stack(images), f"{len(images)} of the {len(source.test)} test images of {source.name}")


def _with_tables_of(folder: RunFolder, source: Source) -> tuple[Source | None, list[str]]:
    tables, faults = read_tables(folder.splits)
    source = replace(source, tables={**source.tables, **tables})
    return (None if faults else source), faults


def _prepared(paths: list[Path], transform: ImageTransform) -> tuple[list[Tensor], str]:
    """The images that can be read, and why the last of the others cannot."""
    images, reason = [], ""
    for path in paths:
        try:
            with Image.open(path) as image:
                images.append(transform(image))
        except Exception as error:  # decoders raise almost anything on a damaged file
            reason = f"{path} cannot be read: {error}"
    return images, reason


def _noise(config: Mapping[str, Any], reason: str) -> Examples:
    size = config["image_size"]
    images = torch.randn(MOST, 3, size, size, generator=torch.Generator().manual_seed(0))
    return Examples(images, f"{MOST} images of noise, as the test images were not found ({reason.rstrip('.')})")
