"""Image files: found, checked, and decoded to 8-bit RGB."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import rich.progress
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console

from ufgir.errors import UserError, did_you_mean
from ufgir.utils import expand_path, natural_key

NOT_DECODED = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")  # formats that pillow knows but cannot decode by itself
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WORKERS = min(8, CORES)  # threads or processes for images, at most

Item = TypeVar("Item")
Result = TypeVar("Result")


def image_endings() -> set[str]:
    """Endings of the files that pillow decodes, such as `.jpg`."""
    endings = Image.registered_extensions()
    return {ending for ending, form in endings.items() if form in Image.OPEN and form not in NOT_DECODED}


def load_image(path: Path) -> Image.Image:
    """Decode an image file, as `as_rgb` does.

    Raises:
        OSError: the file is missing, truncated or not an image.
        ValueError: its pixels have no agreed range (floating point, or more than 16 bit).
    """
    with Image.open(path) as file:
        return as_rgb(file)


def as_rgb(image: Image.Image) -> Image.Image:
    """Decode an opened image of any mode to 8-bit RGB.

    The EXIF rotation is applied, transparency is laid over white, 16-bit grey is scaled to 8 bit, and grey, palette and
    CMYK images are converted. The first frame of an animation is used.
    """
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bit")
    if image.mode == "I" or image.mode.startswith("I;16"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("its pixels are outside of the 16-bit range; save it with 8 or 16 bit")
        return Image.fromarray(((pixels * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def why_unreadable(error: Exception) -> str:
    """What `load_image` raised, in one line and without the path."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return (str(getattr(error, "strerror", None) or error) or type(error).__name__).splitlines()[0]


def decode(paths: Iterable[Path], function: Callable[[Path], Any], ahead: int) -> Iterator[tuple[Path, Any]]:
    """Each path with what `function` makes of it, or with a text: why the image cannot be read. See `thread_map`."""

    def path_and_result(path: Path) -> tuple[Path, Any]:
        try:
            return path, function(path)
        except Exception as error:  # decoders raise almost anything on a damaged file
            return path, why_unreadable(error)

    return thread_map(path_and_result, paths, ahead)


def thread_map(function: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """Apply a function in threads and yield its results in order; at most `ahead` of them wait in memory.

    NumPy and pillow release the interpreter's lock in most of their work, so threads are enough.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting: deque[Future] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)  # otherwise an interrupted user waits for all that are queued


class FoundImages(NamedTuple):
    """Image files, each once, and the folders below those given that cannot be opened, with the reason."""

    paths: list[Path]
    unreadable: list[tuple[Path, str]]


def find_images(values: str | Sequence[str], key: str = "images") -> FoundImages:
    """Find the images that the values of `images=` name.

    Args:
        values: each an image file, a folder (all images below it, in natural order, nothing hidden) or a pattern such
            as `leaves/*.jpg`; `**` stands for any folders.
        key: the argument's name, for messages.

    Raises:
        UserError: with a message for each value that names no image.
    """
    remedy = f"Give {key}=FILE, {key}=FOLDER or a pattern such as {key}='leaves/*.jpg'."
    paths, unreadable, errors = [], [], []
    values = [values] if isinstance(values, str | os.PathLike) else values
    if not values:
        raise UserError(f"{key}= is missing. {remedy}")
    for text in map(str, values):
        path, found = expand_path(key, text), []
        closed: list[OSError] = []
        if text and path.is_dir():
            found = list_images(path, closed.append)
        elif text:
            matches = [path] if path.is_file() else filter(os.path.isfile, glob(str(path), recursive=True))
            found = sorted(map(Path, matches), key=lambda file: [natural_key(part) for part in file.parts])
        if not found and not closed:
            others = path.parent.iterdir() if path.parent.is_dir() else []
            guess = did_you_mean(str(path), [str(other) for other in others if other != path])
            errors.append(f"{key}={text}: there is no such file or match, or no image in that folder. {remedy}{guess}")
        paths += found
        unreadable += [(Path(error.filename), why_unreadable(error)) for error in closed]
    if errors:
        raise UserError(*errors)
    return FoundImages(list(dict.fromkeys(paths)), unreadable)


def list_images(root: Path, on_error: Callable[[OSError], object] | None = None) -> list[Path]:
    """All images below a folder in natural order: nothing hidden, linked folders once, each by the file's ending.

    Args:
        on_error: called with the error of each folder that cannot be opened; None: it is raised.

    Raises:
        OSError: a folder cannot be opened.
    """
    paths, seen, endings = [], set(), image_endings()

    def refuse(error: OSError) -> None:
        raise error

    def visible(names: list[str]) -> list[str]:
        return sorted((name for name in names if name[0] != "."), key=lambda name: (natural_key(name), name))

    for folder, folders, names in os.walk(root, followlinks=True, onerror=on_error or refuse):
        if (real := os.path.realpath(folder)) in seen:  # a link to a folder above it would never end
            folders.clear()
            continue
        seen.add(real)
        folders[:] = visible(folders)
        files = [Path(folder, name) for name in visible(names) if Path(name).suffix.lower() in endings]
        # No pipes, whose reader would wait for ever; a link to nothing is an image that cannot be read.
        paths += [path for path in files if path.is_file() or path.is_symlink()]
    return paths


def track(items: Iterable[Item], total: int, text: str, show: bool = True) -> Iterable[Item]:
    """Pass `items` through, with a progress bar on standard error if that is a terminal."""
    console = Console(stderr=True)
    show = show and console.is_terminal
    return rich.progress.track(items, text, total, console=console) if show else items
