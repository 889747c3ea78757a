"""Resized images kept in memory or on disk, because decoding is what limits the loader.

A store maps the row of a table to uint8 pixels (3, side, side). All stores give the same pixels.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ufgir.data.images import decode, track
from ufgir.data.transforms import resized_pixels
from ufgir.errors import UserError
from ufgir.utils import atomic_write, cache_dir

CACHES = ("none", "ram", "disk")
KEEP_DAYS = 30  # an entry of the cache folder that was not used for so long is deleted


def open_store(cache: str, paths: list[Path], side: int, progress: bool = True) -> "NoStore":
    """The store for `dataset.cache=none|ram|disk`. It is filled here, with a progress bar.

    Raises:
        UserError: there is too little memory or disk for it, or an image cannot be read.
    """
    return {"none": NoStore, "ram": RamStore, "disk": DiskStore}[cache](paths, side, progress)


class NoStore:
    """Decodes an image whenever it is asked for."""

    def __init__(self, paths: list[Path], side: int, progress: bool = True) -> None:
        self.paths, self.side, self.progress = paths, side, progress
        self.size = len(paths) * 3 * side * side  # bytes

    def __getitem__(self, index: int) -> Tensor:
        return resized_pixels(self.paths[index], self.side)

    def decoded(self) -> Iterator[Tensor]:
        """All images in their order, decoded by threads."""
        results = decode(self.paths, lambda path: resized_pixels(path, self.side), ahead=32)
        for path, pixels in track(results, len(self.paths), "caching images", self.progress):
            if isinstance(pixels, str):
                raise UserError(f"{path} cannot be read: {pixels}.")
            yield pixels


class RamStore(NoStore):
    """All images in memory. Filled before the loader's processes start, it is shared with them, not copied."""

    def __init__(self, paths: list[Path], side: int, progress: bool = True) -> None:
        super().__init__(paths, side, progress)
        free = free_memory()
        if free is not None and self.size > free:
            raise UserError(f"dataset.cache=ram needs {self.size / 2**30:.2f} GiB of memory, and "
                            f"{free / 2**30:.2f} GiB are free. Use dataset.cache=disk or none.")
        self.pixels = torch.empty((len(paths), 3, side, side), dtype=torch.uint8)
        for row, pixels in zip(self.pixels, self.decoded(), strict=True):
            row.copy_(pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.pixels[index]


class DiskStore(NoStore):
    """All images in one file below the cache folder, which later runs find again.

    The file is named by the paths, sizes and modification times of the images, and replaced atomically, so that
    processes may build it at the same time.
    """

    def __init__(self, paths: list[Path], side: int, progress: bool = True) -> None:
        super().__init__(paths, side, progress)
        self.pixels: Tensor | None = None
        self.file = cache_dir() / "images" / f"{fingerprint(paths, side)}.uint8"
        if used(self.file):
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.file.parent).free
            if self.size > free:
                raise UserError(f"dataset.cache=disk needs {self.size / 2**30:.2f} GiB, and {free / 2**30:.2f} GiB are "
                                f"free in {self.file.parent}. Set UFGIR_CACHE to a folder on a larger disk.")
            with atomic_write(self.file, "wb") as stream:
                for pixels in self.decoded():
                    stream.write(pixels.numpy().data)
        except OSError as error:
            raise UserError(f"dataset.cache=disk cannot write to {self.file.parent} ({error}). "
                            "Set UFGIR_CACHE to another folder, or use dataset.cache=none.") from error

    def __getitem__(self, index: int) -> Tensor:
        if self.pixels is None:  # each process maps the file for itself
            shape = (len(self.paths), 3, self.side, self.side)
            # Copy on write: a transform that works in place cannot change the file.
            self.pixels = torch.from_numpy(np.memmap(self.file, dtype=np.uint8, mode="c", shape=shape))
        return self.pixels[index]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "pixels": None}


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


def used(entry: Path) -> bool:
    """Whether an entry of the cache folder exists. Notes its use, and deletes what was not used for 30 days."""
    exists = entry.exists()
    try:
        if exists:
            os.utime(entry)
        oldest = time.time() - KEEP_DAYS * 24 * 3600
        for other in entry.parent.iterdir():
            if other.stat().st_mtime < oldest:
                other.unlink(missing_ok=True)
    except OSError:
        pass  # a cache folder that is missing, read-only or cleaned by another process
    return exists


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes of memory that this process may still take, by the system and by the limits of its cgroups (v1 and v2).

    Args:
        root: where `proc` and `sys` are.

    Returns:
        None where the system does not tell, such as on macOS.
    """
    proc, cgroups = root / "proc", root / "sys/fs/cgroup"
    free = []
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        groups = [line.split(":", 2) for line in (proc / "self/cgroup").read_text().splitlines()]
    except OSError:
        groups = []
    for _, controllers, group in groups:
        if controllers == "":  # version 2
            top, limit, usage, reclaimable = cgroups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, limit, usage = cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            reclaimable = "total_inactive_file"
        else:
            continue
        own = top / group.strip("/")
        for folder in [own, *own.parents]:  # a limit holds for all groups below it
            if not folder.is_relative_to(top):
                break
            try:
                most, taken = (folder / limit).read_text().strip(), int((folder / usage).read_text())
            except (OSError, ValueError):
                continue  # a container does not show the groups above its own, nor the top one a limit
            if most != "max":
                # Files that were read count as taken, but give way.
                stat = folder / "memory.stat"
                counts = dict(line.split() for line in stat.read_text().splitlines()) if stat.exists() else {}
                free.append(max(0, int(most) - taken + int(counts.get(reclaimable, 0))))
    return min(free, default=None)
