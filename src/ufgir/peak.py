"""The most memory that was held since a moment: of a CUDA device, else of this process."""

import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Count from here on, on every device: an earlier run in this process may have held more.

    Linux lets a process lower its highest mark; elsewhere that of the processor's memory stays.
    """
    for number in range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0):
        torch.cuda.reset_peak_memory_stats(number)
    with suppress(OSError):  # no Linux, or a container that forbids it
        CLEAR.write_text("5")


def peak_memory_gb(device: torch.device) -> float:
    """Most memory held since then, in 10^9 bytes: by the allocator of a CUDA device, else by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if STATUS.exists():
        return resident("VmHWM") / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def resident(mark: str) -> int:
    """Bytes that Linux says are resident: `VmRSS` now, `VmHWM` at most."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{mark}:"))
    return int(line.split()[1]) * 1024
