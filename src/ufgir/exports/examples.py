"""Images to check an exported model on: those that its run was tested on, wherever they can be found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ufgir.data.transforms import as_batch, normalised
from ufgir.photos import decoded, spread
from ufgir.runs.folder import RunFolder
from ufgir.runs.tested import tested_source

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
    source, faults = tested_source(config, folder)
    if source is None:
        return _noise(config, faults[0])
    paths = [path for path in source.paths(source.test) if path.is_file()]
    if not paths:
        return _noise(config, f"no image of the test table lies below {source.image_root}")
    prepared = list(decoded(spread(paths, MOST), config["dataset"]["resize"], config["image_size"], ahead=MOST))
    readable = [pixels for _, pixels in prepared if not isinstance(pixels, str)]
    if not readable:
        return _noise(config, "{} cannot be read: {}".format(*prepared[-1]))
    what = f"{len(readable)} of the {len(source.test)} test images of {source.name}"
    return Examples(normalised(as_batch(readable)), what)


def _noise(config: Mapping[str, Any], reason: str) -> Examples:
    size = config["image_size"]
    images = torch.randn(MOST, 3, size, size, generator=torch.Generator().manual_seed(0))
    return Examples(images, f"{MOST} images of noise, as the test images were not found ({reason.rstrip('.')})")
