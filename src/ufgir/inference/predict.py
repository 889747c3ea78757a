"""From image files to classes."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import torch
from lightning.fabric import Fabric
from torch import Tensor

from ufgir.config import RunConfig
from ufgir.config.schema import resolved_precision
from ufgir.data.transforms import decode_for_test, normalize
from ufgir.models import ReducedViT
from ufgir.training.predictions import Prediction, top_classes
from ufgir.training.run import quiet_lightning


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
    """
    with quiet_lightning():
        fabric = Fabric(accelerator=config.trainer.accelerator, devices=1, precision=resolved_precision(config))
        module = fabric.setup_module(model)
    images = decode_for_test(paths, config.resize, config.image_size, ahead=2 * batch_size)
    while batch := list(islice(images, batch_size)):
        readable = [pixels for _, pixels in batch if isinstance(pixels, Tensor)]
        predictions: Iterator[Prediction] = iter(())
        if readable:
            with torch.inference_mode():
                pixels = fabric.to_device(torch.stack(readable))
                predictions = iter(top_classes(module(normalize(pixels)).float()))
        for path, pixels in batch:
            yield path, pixels if isinstance(pixels, str) else next(predictions)
