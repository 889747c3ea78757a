"""Decoded and resized images, kept in memory or on disk: the loader's bottleneck is decoding, and the sets are small.

A store maps the row of a table to uint8 pixels (side, side, 3). All stores give the same pixels.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ufgir.amounts import as_text
from ufgir.data.fingerprint import cache_folder, fingerprint
from ufgir.data.progress import tracked
from ufgir.data.transforms import resized_pixels
from ufgir.data.wording import reason
from ufgir.errors import UserError
from ufgir.memory import free_memory


class Store(Protocol):
    """The resized images of one table."""

    def __getitem__(self, index: int) -> np.ndarray: ...


def open_store(cache: str, paths: list[Path], side: int, progress: bool = True) -> Store:
    """The store of `dataset.cache`: `none`, `ram` or `disk`; it is filled here, with a progress bar.

    Raises:
        UserError: there is too little memory or disk for it.
    """
    return {"none": NoStore, "ram": RamStore, "disk": DiskStore}[cache](paths, side, progress)


class NoStore:
    """Decodes an image whenever it is asked for."""

    def __init__(self, paths: list[Path], side: int, progress: bool = True) -> None:
        self.paths, self.side = paths, side

    def __getitem__(self, index: int) -> np.ndarray:
        return resized_pixels(self.paths[index], self.side)


class RamStore:
    """All images in memory. Filled before the loader's workers start, it is shared with them, not copied."""

    def __init__(self, paths: list[Path], side: int, progress: bool = True) -> None:
        need, free = _size(paths, side), free_memory()
        if free is not None and need > free:
            raise UserError(f"dataset.cache=ram needs {as_text(need)} for {len(paths)} images, and {as_text(free)} of "
                            "memory are free; use dataset.cache=disk or none")
        # A tensor, because it reaches workers by shared memory even where they are not forked.
        self.pixels = torch.empty((len(paths), side, side, 3), dtype=torch.uint8)
        for row, pixels in zip(self.pixels.numpy(), _decoded(paths, side, progress), strict=True):
            row[:] = pixels

    def __getitem__(self, index: int) -> np.ndarray:
        return self.pixels[index].numpy()


class DiskStore:
    """All images in one file below the user's cache folder, which later runs find again.

    The file is named by the images' places, sizes and times of change. It is written under a name of its own and
    renamed when whole, so processes that build it at the same time do each other no harm.
    """

    def __init__(self, paths: list[Path], side: int, progress: bool = True) -> None:
        self.shape = (len(paths), side, side, 3)
        self.file = cache_folder() / "images" / f"{fingerprint(paths, side)}.uint8"
        self.pixels: np.memmap | None = None
        if not self.file.exists():
            self._fill(paths, side, progress)

    def _fill(self, paths: list[Path], side: int, progress: bool) -> None:
        folder = self.file.parent
        unfinished = folder / f"{self.file.name}.{uuid.uuid4().hex}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            need, free = _size(paths, side), shutil.disk_usage(folder).free
            if need > free:
                raise UserError(f"dataset.cache=disk needs {as_text(need)} for {len(paths)} images, and "
                                f"{as_text(free)} are free in {folder}; set UFGIR_CACHE to a folder on a larger disk")
            file = unfinished.open("wb")
        except OSError as error:
            raise UserError(f"dataset.cache=disk cannot write to {folder}: {reason(error)}; "
                            "set UFGIR_CACHE to a folder that can be written") from error
        try:
            with file:
                for pixels in _decoded(paths, side, progress):
                    file.write(pixels.tobytes())
            unfinished.replace(self.file)
        finally:
            unfinished.unlink(missing_ok=True)

    def __getitem__(self, index: int) -> np.ndarray:
        if self.pixels is None:  # mapped by each process for itself: a memory map cannot be handed over
            self.pixels = np.memmap(self.file, dtype=np.uint8, mode="r", shape=self.shape)
        return np.asarray(self.pixels[index])

    def __getstate__(self) -> dict:
        return {**self.__dict__, "pixels": None}


def _decoded(paths: list[Path], side: int, progress: bool) -> Iterator[np.ndarray]:
    """The images in their order, decoded by threads."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        yield from tracked(pool.map(partial(resized_pixels, side=side), paths), len(paths), "caching images", progress)


def _size(paths: list[Path], side: int) -> int:
    """Bytes of all images."""
    return len(paths) * side * side * 3
