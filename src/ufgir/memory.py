"""Too little memory: what was asked for and what there was, in one sentence, whoever says it in whatever words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ufgir.amounts import as_text, find_amount
from ufgir.errors import RunFailed, UserError, behind

GPU_SIGNS = ("CUDA out of memory", "CUDA error: out of memory", "CUDA driver error: out of memory", "HIP out of memory",
             "MPS backend out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")  # fmt: skip
SHARED_SIGN = "out of shared memory"  # of the loader's processes
SIGNS = (
    "can't allocate memory",  # torch
    "Cannot allocate memory",  # the system
    "Unable to allocate",  # numpy
    "killed by signal: Killed",  # a process of the loader, by the system
)


@contextmanager
def enough_memory(advice: str = "") -> Iterator[None]:
    """Tells how much memory lacks, and what to do, where it runs out.

    Args:
        advice: sentences that name the settings to lower.

    Raises:
        RunFailed: it ran out.
    """
    try:
        yield
    except (UserError, RunFailed):
        raise
    except Exception as error:
        if shortage := memory_shortage(error):
            raise RunFailed(f"{shortage}. {advice}".strip()) from error
        raise


def memory_shortage(error: BaseException) -> str | None:
    """What was asked for, what is free, and how much it is short; None for an error of another kind."""
    for cause in behind(error):
        text = str(cause)
        if any(sign in text for sign in GPU_SIGNS):
            return _told("the GPU", text, find_amount(text, before=r"of which ", after=" is free"))
        if SHARED_SIGN in text:
            return "this machine has too little shared memory (/dev/shm) for the processes that load the images"
        if isinstance(cause, MemoryError) or (isinstance(cause, (RuntimeError, OSError)) and _is_of_the_system(text)):
            return _told("this machine", text, free_memory())
    return None


def _is_of_the_system(text: str) -> bool:
    return any(sign in text for sign in SIGNS)


def _told(who: str, text: str, free: float | None) -> str:
    start, asked, whole = f"{who} has too little memory", _asked_for(text), find_amount(text, before="capacity of ")
    if asked is None:
        return start
    if free is None:
        return f"{start}: {as_text(asked)} more were asked for"
    there = f"{as_text(free)} of its {as_text(whole)}" if whole else as_text(free)
    if asked <= free:
        return f"{start}: {as_text(asked)} more were asked for in one piece; {there} are free, but in several pieces"
    return f"{start}: {as_text(asked)} more were asked for and {there} are free, so it is {as_text(asked - free)} short"


def _asked_for(text: str) -> float | None:
    """Bytes that could not be had."""
    if found := re.search(r"tried to allocate (\d+) bytes", text):
        return float(found[1])
    return find_amount(text, before=r"(?:[Tt]ried|Unable) to allocate ")


def free_memory() -> int | None:
    """Bytes of memory that can be had without swapping, where the system tells."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
