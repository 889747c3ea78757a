"""What a model says of images: the five likeliest classes of each."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor

from ufgir.data.transforms import as_batch, normalised
from ufgir.memory import enough_memory
from ufgir.models import ReducedViT
from ufgir.photos import decoded
from ufgir.runs.lighter import lighter_batch
from ufgir.runs.quiet import quiet_lightning

TOP = 5


class Answer(NamedTuple):
    """The likeliest classes of one image, at most five, the likeliest first.

    Attributes:
        classes: their ids.
        probabilities: of each, 0 to 1; over all classes they add up to 1.
    """

    classes: list[int]
    probabilities: list[float]


def answers(logits: Tensor) -> list[Answer]:
    """The answer of each row of logits (B, classes); of equal ones the first class wins, as in the accuracy."""
    likeliest = logits.sort(dim=1, descending=True, stable=True).indices[:, :TOP]  # (B, at most 5)
    probabilities = logits.softmax(dim=1).gather(1, likeliest)
    return [Answer(*pair) for pair in zip(likeliest.tolist(), probabilities.tolist(), strict=True)]


def classify(
    model: ReducedViT, config: Mapping[str, Any], paths: Iterable[Path], batch_size: int
) -> Iterator[tuple[Path, Answer | str]]:
    """Classify image files, prepared as the test pass prepares them.

    Args:
        model: with its weights.
        config: resolved, for this machine.
        paths: image files.
        batch_size: images in one pass through the model.

    Yields:
        each path in its order, with the answer or with the reason why it cannot be read.

    Raises:
        RunFailed: the device has too little memory for a batch.
    """
    trainer, size = config["trainer"], config["image_size"]
    with quiet_lightning():
        fabric = Fabric(accelerator=trainer["accelerator"], devices=1, precision=trainer["precision"])
        module = fabric.setup_module(model.eval())
    images = decoded(paths, config["dataset"]["resize"], size, ahead=2 * batch_size)
    while batch := list(islice(images, batch_size)):
        readable = [pixels for _, pixels in batch if isinstance(pixels, np.ndarray)]
        with enough_memory(lighter_batch(batch_size)):
            given = iter(_answers_of(module, fabric, readable) if readable else [])
        for path, pixels in batch:
            yield path, pixels if isinstance(pixels, str) else next(given)


def _answers_of(module: torch.nn.Module, fabric: Fabric, pixels: list[np.ndarray]) -> list[Answer]:
    with torch.inference_mode():
        return answers(module(normalised(fabric.to_device(as_batch(pixels)))).float())
