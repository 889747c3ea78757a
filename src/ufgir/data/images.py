"""Any image file as 8-bit RGB."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ufgir.data.wording import reason

HIGHEST_16_BIT = 65535
NOT_PHOTOGRAPHS = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")  # pillow knows them, but cannot decode them by itself


def image_endings() -> set[str]:
    """Endings of the files that pillow decodes, such as `.jpg`."""
    endings = Image.registered_extensions()
    return {ending for ending, form in endings.items() if form in Image.OPEN and form not in NOT_PHOTOGRAPHS}


def load_image(path: Path) -> Image.Image:
    """Decode a file wholly into an RGB image.

    The rotation noted in its EXIF data is applied, transparency is laid over white, 16-bit grey is scaled to 8 bit,
    and grey, palette and CMYK images are converted. Of an animation the first frame counts.

    Raises:
        OSError: the file is missing, truncated or no image.
        ValueError: its numbers have no agreed range (floating point, or more than 16 bit).
    """
    with Image.open(path) as file:
        return as_rgb(file)


def as_rgb(image: Image.Image) -> Image.Image:
    """An opened image as `load_image` returns it, with the same errors."""
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bit")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bit(image).convert("RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _over_white(image.convert("RGBA"))
    return image.convert("RGB")


def why_unreadable(error: Exception) -> str:
    """What `load_image` raised, in half a sentence."""
    return "not an image" if isinstance(error, UnidentifiedImageError) else reason(error)


def _over_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > HIGHEST_16_BIT:
        raise ValueError(f"its pixels reach from {pixels.min()} to {pixels.max()}, beyond 16 bit; save it with 8 or 16")
    return Image.fromarray(((pixels * 255 + HIGHEST_16_BIT // 2) // HIGHEST_16_BIT).astype(np.uint8))
