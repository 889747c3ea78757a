"""From image files to classes."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.fabric import Fabric
from torch import Tensor

from ufgir.config import RunConfig
from ufgir.config.schema import resolved_precision
from ufgir.data.transforms import decode_for_test, normalize
from ufgir.errors import RunFailed, exception_chain
from ufgir.models import ReducedViT
from ufgir.training.run import OOM_SIGNS, quiet_lightning

TOP = 5


class Prediction(NamedTuple):
    """The most probable classes of one image, at most five, the most probable first.

    Attributes:
        classes: their ids.
        probabilities: 0 to 1; over all classes they add up to 1.
    """

    classes: list[int]
    probabilities: list[float]


def top_classes(logits: Tensor) -> list[Prediction]:
    """The prediction of each row of logits (B, classes); of equal ones the first class wins, as in the accuracy."""
    classes = logits.sort(dim=1, descending=True, stable=True).indices[:, :TOP]  # (B, at most 5)
    probabilities = logits.softmax(dim=1).gather(1, classes)
    return [Prediction(*pair) for pair in zip(classes.tolist(), probabilities.tolist(), strict=True)]


def classify(
    model: ReducedViT, config: RunConfig, paths: Iterable[Path], batch_size: int
) -> Iterator[tuple[Path, Prediction | str]]:
    """Classify image files, prepared as the test pass prepares them. Threads decode ahead of the model.

    Args:
        model: used in the mode in which it is.
        config: of its run, for this machine.
        paths: image files; no more than three batches of them are in memory.
        batch_size: images in one pass through the model.

    Yields:
        each path in its order, with the prediction or with the reason why it cannot be read.

    Raises:
        RunFailed: the device has too little memory for a batch.
    """
    with quiet_lightning():
        fabric = Fabric(accelerator=config.trainer.accelerator, devices=1, precision=resolved_precision(config))
        module = fabric.setup_module(model)
    images = decode_for_test(paths, resize_of(config), config.image_size, ahead=2 * batch_size)
    while batch := list(islice(images, batch_size)):
        readable = [pixels for _, pixels in batch if isinstance(pixels, Tensor)]
        predictions: Iterator[Prediction] = iter(())
        if readable:
            with oom_as_failure(), torch.inference_mode():
                pixels = fabric.to_device(torch.stack(readable))
                predictions = iter(top_classes(module(normalize(pixels)).float()))
        for path, pixels in batch:
            yield path, pixels if isinstance(pixels, str) else next(predictions)


def resize_of(config: RunConfig) -> int:
    """Side to which the test pass resizes images before the crop, pixels."""
    return config.dataset.arguments().get("resize") or int(config.image_size / 0.875)


@contextmanager
def oom_as_failure() -> Iterator[None]:
    """Report too little memory as a failure with a remedy.

    Raises:
        RunFailed: instead of what torch raises then.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        texts = [str(cause).lower() for cause in exception_chain(error)]
        if isinstance(error, MemoryError) or any(sign in text for text in texts for sign in OOM_SIGNS):
            raise RunFailed("out of memory. Lower batch_size, image_size or keep_rate.") from error
        raise


def columns(classes: int) -> list[str]:
    """`top1,probability1,top2,...` for as many classes as there are, at most five."""
    return [f"{name}{rank}" for rank in range(1, min(TOP, classes) + 1) for name in ("top", "probability")]


def fields(prediction: Prediction, class_names: Sequence[str]) -> list[str]:
    """The fields of `columns`."""
    pairs = zip(prediction.classes, prediction.probabilities, strict=True)
    return [field for number, probability in pairs for field in (class_names[number], f"{probability:.6f}")]


def printable(path: Path) -> str:
    """A path as text that every encoding of Unicode takes, whatever bytes the file system holds."""
    return str(path).encode("utf-8", "backslashreplace").decode()
