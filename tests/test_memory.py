"""Too little memory is told with figures, in whatever words it is noticed."""

import numpy as np
import pytest
import torch

from tiny import GPU_IS_FULL
from ufgir.amounts import as_text
from ufgir.errors import RunFailed
from ufgir.memory import enough_memory, memory_shortage


def shortage_of(action):
    try:
        action()
    except Exception as error:
        return memory_shortage(error)
    raise AssertionError("there is that much")


def test_of_a_gpu():
    short = torch.OutOfMemoryError(GPU_IS_FULL.format(asked="2.00 GiB", free="512.00 MiB"))
    assert memory_shortage(short) == (
        "the GPU has too little memory: 2.00 GiB more were asked for and 512.00 MiB of its 23.69 GiB are free, "
        "so it is 1.50 GiB short"
    )
    in_pieces = torch.OutOfMemoryError(GPU_IS_FULL.format(asked="20.00 MiB", free="512.00 MiB"))
    assert memory_shortage(in_pieces).endswith("512.00 MiB of its 23.69 GiB are free, but in several pieces")
    other = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    assert memory_shortage(RuntimeError(other)) == "the GPU has too little memory"


def test_of_this_machine():
    for action, asked in ((lambda: torch.empty(2**50), "4.00 PiB"), (lambda: np.empty(2**50), "8.00 PiB")):
        told = shortage_of(action)
        assert told.startswith(f"this machine has too little memory: {asked} more were asked for")
        assert told.endswith(" short") or "/proc/meminfo" not in told
    assert memory_shortage(OSError(12, "Cannot allocate memory")) == "this machine has too little memory"
    killed = RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. ")
    assert memory_shortage(killed) == "this machine has too little memory"
    bus = "DataLoader worker (pid 1) is killed by signal: Bus error. It is possible that dataloader's workers are out "
    assert "/dev/shm" in memory_shortage(RuntimeError(f"{bus}of shared memory."))


def test_behind_other_errors_and_not_of_others():
    wrapped = RuntimeError("Caught OutOfMemoryError in replica 0")
    wrapped.__cause__ = torch.OutOfMemoryError(GPU_IS_FULL.format(asked="1.00 GiB", free="0 bytes"))
    assert memory_shortage(wrapped).endswith("0 bytes of its 23.69 GiB are free, so it is 1.00 GiB short")
    assert memory_shortage(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    with pytest.raises(ValueError), enough_memory("Lower something."):
        raise ValueError("another")
    with pytest.raises(RunFailed, match=r"^this machine has too little memory. Lower something.$"):
        with enough_memory("Lower something."):
            raise MemoryError


def test_amounts():
    amounts = [0, 1023, 1024, 6912, 3 * 2**20, 1.5 * 2**30]
    assert list(map(as_text, amounts)) == ["0 bytes", "1023 bytes", "1.00 KiB", "6.75 KiB", "3.00 MiB", "1.50 GiB"]
