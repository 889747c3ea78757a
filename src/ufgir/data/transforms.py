"""From a decoded image to the model's input: one resize that never changes, then a crop and a flip drawn anew.

The resize yields uint8 pixels, which is what `cache.py` keeps; crop and flip act on them, and the normalisation comes
last, for a whole batch on the device of the model: results with and without a cache are the same bits, and a quarter of
the bytes goes through the workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ufgir.data.images import as_rgb, load_image
from ufgir.errors import UserError

CROP_SHARE = 0.875  # the crop's side as a share of the resized side, as in the paper
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def resize_side(image_size: int, resize: int | None = None) -> int:
    """Side in pixels to which images are resized before the crop: `resize`, or `int(image_size / 0.875)`.

    Raises:
        UserError: `resize` is smaller than the crop.
    """
    if resize is None:
        return int(image_size / CROP_SHARE)
    if resize < image_size:
        raise UserError(f"dataset.resize={resize} is smaller than image_size={image_size}, which is cut out of it")
    return resize


def resized_pixels(path: Path, side: int) -> np.ndarray:
    """Decode an image and resize it to a square, bicubic and antialiased: uint8 (side, side, 3)."""
    return _resized(load_image(path), side)


def _resized(image: Image.Image, side: int) -> np.ndarray:
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


@dataclass(frozen=True)
class Augment:
    """What is drawn at random for a training image; nothing by default, which is how test images are cut."""

    random_crop: bool = False
    hflip: float = 0.0  # probability of a horizontal flip

    def cut(self, pixels: np.ndarray, size: int, draw: np.random.Generator) -> np.ndarray:
        """Crop, then perhaps flip: (side, side, 3) → (size, size, 3); `draw` is the image's own generator."""
        spare = pixels.shape[0] - size
        top = left = round(spare / 2)
        if self.random_crop:
            top, left = draw.integers(0, spare, size=2, endpoint=True)
        crop = pixels[top : top + size, left : left + size]
        return crop[:, ::-1] if draw.random() < self.hflip else crop


def cut_for_test(path: Path, side: int, size: int) -> np.ndarray:
    """An image file as the test pass cuts it: uint8 (size, size, 3), the centre of its resize to `side`."""
    return _centre(resized_pixels(path, side), size)


def _centre(pixels: np.ndarray, size: int) -> np.ndarray:
    return Augment().cut(pixels, size, np.random.default_rng(0))  # of which nothing is drawn


def as_batch(images: Sequence[np.ndarray]) -> Tensor:
    """Pixels of images, each uint8 (S, S, 3), as the model's input but for `normalised`: uint8 (B, 3, S, S)."""
    return torch.from_numpy(np.stack([pixels.transpose(2, 0, 1) for pixels in images]))


def normalised(images: Tensor) -> Tensor:
    """uint8 (..., 3, S, S) → float32, normalised with ImageNet's mean and standard deviation, on the same device."""
    mean, std = _statistics(images.device)
    return images.to(torch.float32).div_(255).sub_(mean).div_(std)


@cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """ImageNet's mean and standard deviation (3, 1, 1)."""
    mean, std = torch.tensor([IMAGENET_MEAN, IMAGENET_STD], device=device).view(2, 3, 1, 1)
    return mean, std


@dataclass(frozen=True)
class ImageTransform:
    """Prepares an image exactly as the test pass does: a PIL image of any mode and size → float32 (3, S, S)."""

    resize: int  # side in pixels of the square that it is resized to
    crop: int  # side S of the square cut out of its centre

    def __call__(self, image: Image.Image) -> Tensor:
        return normalised(as_batch([_centre(_resized(as_rgb(image), self.resize), self.crop)]))[0]
