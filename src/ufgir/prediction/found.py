"""The images that a path stands for."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from ufgir.config.messages import did_you_mean, nearest
from ufgir.data.folder import natural
from ufgir.data.wording import reason
from ufgir.errors import UserError

NOT_PHOTOGRAPHS = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")  # pillow knows them, but cannot decode them by itself


@dataclass
class Found:
    """What lies at a path.

    Attributes:
        images: files with the ending of an image, in the order of people (2 before 10), whatever is in them.
        closed: folders that cannot be looked into, with the reason.
    """

    images: list[Path] = field(default_factory=list)
    closed: list[tuple[Path, str]] = field(default_factory=list)


def find_images(given: Path) -> Found:
    """One file, or all images below a folder; there nothing hidden, and linked folders once.

    Raises:
        UserError: nothing is there, or no image is.
    """
    if given.is_file():
        return Found([given])
    if not given.is_dir():
        beside = [path.name for path in given.parent.iterdir()] if given.parent.is_dir() else []
        near = did_you_mean([f"images={given.parent / name}" for name in nearest(given.name, beside)])
        raise UserError(f"images={given} does not exist; give an image or a folder of images.{near}")
    found, endings, seen = Found(), image_endings(), set()

    def note(error: OSError) -> None:
        found.closed.append((Path(error.filename), reason(error)))

    for folder, folders, names in os.walk(given, onerror=note, followlinks=True):
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural)
        if (real := os.path.realpath(folder)) in seen:  # a link to a folder above it would never end
            folders.clear()
            continue
        seen.add(real)
        images = (name for name in names if not name.startswith(".") and os.path.splitext(name)[1].lower() in endings)
        paths = (Path(folder, name) for name in sorted(images, key=natural))
        # No pipes, whose reader would wait for ever; a link to nothing is an image that cannot be read.
        found.images += [path for path in paths if path.is_file() or path.is_symlink()]
    if found.closed and found.closed[0][0] == given:
        raise UserError(f"images={given} cannot be read: {found.closed[0][1]}.")
    if not found.images:
        usual = ", ".join(ending for ending in (".jpg", ".png", ".tif", ".bmp", ".webp") if ending in endings)
        raise UserError(f"images={given} holds no images, in subfolders neither; looked for {usual} and the like.")
    return found


def image_endings() -> set[str]:
    """Endings of the files that pillow decodes, such as `.jpg`."""
    endings = Image.registered_extensions()
    return {ending for ending, form in endings.items() if form in Image.OPEN and form not in NOT_PHOTOGRAPHS}
