"""A GPU of its own for each run of a multirun on one machine, held by a file lock as long as the run lives."""

import getpass
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from ufgir.config.machine import uses_cuda

WAIT = 2.0  # seconds between looks for a free GPU


@contextmanager
def leased_gpu(trainer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Wait for a free GPU if the run needs one of several, and keep other runs off it.

    The system frees the lock of a process that dies. Where an engine shows each run its own GPU (Ray, SLURM) there is
    only one to see, and nothing is leased.

    Args:
        trainer: the node `trainer` of a resolved configuration.

    Yields:
        the node with the device to use.
    """
    count = torch.cuda.device_count() if uses_cuda(trainer["accelerator"]) else 0
    if count < 2 or trainer["devices"] not in (1, "auto"):
        yield dict(trainer)
        return
    folder = Path(tempfile.gettempdir()) / f"ufgir-gpus-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    locks = [FileLock(folder / f"{_name(index)}.lock", timeout=0) for index in range(count)]
    while (index := _acquire_one(locks)) is None:
        time.sleep(WAIT)
    try:
        yield {**trainer, "devices": [index]}
    finally:
        locks[index].release()


def _name(index: int) -> str:
    """The same for the same GPU, whatever number it has in this process."""
    return str(getattr(torch.cuda.get_device_properties(index), "uuid", index))


def _acquire_one(locks: list[FileLock]) -> int | None:
    for index, lock in enumerate(locks):
        try:
            lock.acquire()
        except Timeout:
            continue
        return index
    return None
