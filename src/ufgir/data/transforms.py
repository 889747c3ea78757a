"""From a decoded image to the model's input.

An image is resized once to a square, which gives the uint8 pixels that the cache keeps; crops and flips act on those.
The normalization comes last, for a whole batch on the model's device: a cache changes no bit, and the loader's
processes hand over a quarter of the bytes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from ufgir.data.images import as_rgb, decode, load_image
from ufgir.errors import UserError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

center_crop = v2.functional.center_crop


def resized_pixels(image: Path | Image.Image, side: int) -> Tensor:
    """An image file, or an RGB image, resized to a square, bicubic and antialiased: uint8 (3, side, side)."""
    image = image if isinstance(image, Image.Image) else load_image(image)
    bands = image.resize((side, side), Image.Resampling.BICUBIC).split()
    return torch.from_numpy(np.stack([np.asarray(band) for band in bands]))


def paper_transforms(image_size: int) -> list[v2.Transform]:
    """The paper's training transforms: a random crop and a horizontal flip of every second image."""
    return [v2.RandomCrop(image_size), v2.RandomHorizontalFlip()]


def mix_batches(num_classes: int, mixup_alpha: float | None = 0.2, cutmix_alpha: float | None = 1.0) -> v2.Transform:
    """torchvision's MixUp and CutMix, one of them at random for each batch; targets become shares (B, num_classes).

    Args:
        num_classes: of the model.
        mixup_alpha, cutmix_alpha: parameter of the Beta distribution, above 0; None: without this one.
    """
    chosen = [
        kind(alpha=alpha, num_classes=num_classes)
        for kind, alpha in ((v2.MixUp, mixup_alpha), (v2.CutMix, cutmix_alpha))
        if alpha is not None
    ]
    if not chosen:
        raise UserError("augment.batch: mixup_alpha and cutmix_alpha are both null. Use augment.batch=null instead.")
    return v2.RandomChoice(chosen)


@cache
def imagenet_statistics(device: torch.device) -> Tensor:
    """ImageNet's mean and standard deviation (2, 3, 1, 1), kept on each device."""
    return torch.tensor([IMAGENET_MEAN, IMAGENET_STD], device=device).view(2, 3, 1, 1)


def normalize(images: Tensor) -> Tensor:
    """uint8 (..., 3, S, S) to float32 with ImageNet's mean and standard deviation, on the same device."""
    mean, std = imagenet_statistics(images.device)
    return images.to(torch.float32).div_(255).sub_(mean).div_(std)


@dataclass(frozen=True)
class EvalTransform:
    """Prepares an image exactly as the test pass does: a PIL image of any mode and size to float32 (3, S, S).

    Args:
        resize: side of the square that the image is resized to, pixels.
        crop: side S of the square cut out of its center, pixels.
    """

    resize: int
    crop: int

    def __call__(self, image: Image.Image) -> Tensor:
        return normalize(center_crop(resized_pixels(as_rgb(image), self.resize), self.crop))


def decode_for_test(
    paths: Iterable[Path], resize: int, crop: int, ahead: int = 32
) -> Iterator[tuple[Path, Tensor | str]]:
    """Each path with its pixels as the test pass cuts them, uint8 (3, S, S), or with a text: why it cannot be read.

    `resize` and `crop` are those of `EvalTransform`; at most `ahead` decoded images wait in memory.
    """
    return decode(paths, lambda path: center_crop(resized_pixels(path, resize), crop), ahead)
