"""Resized images kept in memory or on disk, because decoding is what limits the loader.

A store maps the row of a table to uint8 pixels (3, side, side). All stores give the same pixels.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from ufgir.data.images import decode, track
from ufgir.data.transforms import resized_pixels
from ufgir.errors import UserError
from ufgir.utils import atomic_write, cache_dir

CACHES = ("none", "ram", "disk")
KEEP_DAYS = 30  # an entry of the cache folder that was not used for so long is deleted


def open_store(cache: str, paths: list[Path], side: int, progress: bool = True) -> "Store":
    """The store for `dataset.cache=none|ram|disk`. It is filled here, with a progress bar.

    `ram` is a tensor (N, 3, side, side): filled before the loader's processes start, it is shared, not copied.

    Raises:
        UserError: there is not enough memory, its file cannot be written, or an image cannot be read.
    """
    if cache == "none":
        return NoStore(paths, side)
    if cache == "disk":
        return DiskStore(paths, side, progress)
    try:
        pixels = torch.empty((len(paths), 3, side, side), dtype=torch.uint8)
    except RuntimeError as error:
        raise UserError(
            f"dataset.cache=ram needs {len(paths) * 3 * side**2 / 2**30:.2f} GiB of memory, more than "
            "there is. Use dataset.cache=disk or none."
        ) from error
    for row, image in enumerate(_decoded(paths, side, progress)):
        pixels[row] = image
    return pixels


class NoStore:
    """Decodes an image whenever it is asked for."""

    def __init__(self, paths: list[Path], side: int) -> None:
        self.paths, self.side = paths, side

    def __getitem__(self, row: int) -> Tensor:
        return resized_pixels(self.paths[row], self.side)


class DiskStore:
    """All images in one file below the cache folder, which later runs find again.

    The file is named by the paths, sizes and modification times of the images, and replaced atomically, so that
    processes may build it at the same time.
    """

    def __init__(self, paths: list[Path], side: int, progress: bool = True) -> None:
        self.shape, self.pixels = (len(paths), 3, side, side), None
        self.file = cache_dir() / "images" / f"{fingerprint(paths, side)}.uint8"
        is_there = touch(self.file)
        expire(self.file.parent)
        if is_there:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.file, "wb") as stream:
                for image in _decoded(paths, side, progress):
                    stream.write(image.numpy().data)
        except OSError as error:
            raise UserError(
                f"dataset.cache=disk cannot write to {self.file.parent} ({error}). Set UFGIR_CACHE to "
                "another folder or a larger disk, or use dataset.cache=none."
            ) from error

    def __getitem__(self, row: int) -> Tensor:
        if self.pixels is None:  # each process maps the file for itself
            # Copy on write: a transform that works in place cannot change the file.
            size = torch.Size(self.shape).numel()
            self.pixels = torch.from_file(str(self.file), shared=False, size=size, dtype=torch.uint8).view(self.shape)
        return self.pixels[row]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "pixels": None}


Store = Tensor | NoStore | DiskStore


def _decoded(paths: list[Path], side: int, progress: bool) -> Iterator[Tensor]:
    """All images in their order, decoded by threads: uint8 (3, side, side)."""
    results = decode(paths, lambda path: resized_pixels(path, side), ahead=32)
    for path, pixels in track(results, len(paths), "caching images", progress):
        if isinstance(pixels, str):
            raise UserError(f"{path} cannot be read: {pixels}.")
        yield pixels


def fingerprint(paths: Iterable[Path], *extra: object) -> str:
    """32 hexadecimal digits that change with the path, size or modification time of a file, the order, and `extra`.

    Raises:
        OSError: a file is missing.
    """
    digest = hashlib.sha256(repr(("CHW", *extra)).encode())
    for path in paths:
        status = path.stat()
        entry = f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}\n"
        digest.update(entry.encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def touch(entry: Path) -> bool:
    """Whether an entry of the cache folder exists; if so its use is noted."""
    if exists := entry.exists():
        with suppress(OSError):  # a read-only cache folder
            os.utime(entry)
    return exists


def expire(folder: Path) -> None:
    """Delete the entries of a cache folder that were not used for 30 days."""
    oldest = time.time() - KEEP_DAYS * 24 * 3600
    with suppress(OSError):  # a cache folder that is missing, read-only or cleaned by another process
        for entry in folder.iterdir():
            if entry.stat().st_mtime < oldest:
                entry.unlink(missing_ok=True)
