"""Clocks that may be trusted on a shared machine: what is compared takes turns, and ratios come from neighbours."""

import math
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

LEAST_SECONDS = 0.1  # of one measurement; what is quicker is repeated within it
LEVEL = 0.95  # of the interval of a median


def interleaved(steps: Mapping[str, Callable[[], None]], rounds: int, device: torch.device) -> dict[str, np.ndarray]:
    """Seconds of each step, taken in turns: in every second round the order is reversed.

    What comes first has warmed up already when the first round starts: each step has run three times by then.

    Args:
        steps: what to time, by name; neighbours in this order are neighbours in time.
        rounds: measurements of each.
        device: on which they run; both ends of each measurement wait for it.

    Returns:
        (rounds,) seconds of one step, by name; equal positions were measured one after the other.
    """
    repeats = {name: _repeats(step, device) for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for round_number in range(rounds):
        for name in names if round_number % 2 == 0 else reversed(names):
            seconds[name].append(_seconds(steps[name], repeats[name], device))
    return {name: np.array(values) for name, values in seconds.items()}


def median_interval(values: np.ndarray) -> tuple[float, float]:
    """Interval of the median of `values` (n,) at `LEVEL`, from their order alone; (lowest, highest) if n is below 6."""
    ordered, count = np.sort(values), len(values)
    outside, rank = 0.0, 0
    # The ranks r with P(Binomial(n, 1/2) < r) at most half of what may lie outside.
    while (outside := outside + math.comb(count, rank) / 2**count) <= (1 - LEVEL) / 2:
        rank += 1
    rank = max(rank, 1)
    return float(ordered[rank - 1]), float(ordered[count - rank])


def _repeats(step: Callable[[], None], device: torch.device) -> int:
    """How often a step fits into the least time of a measurement; it is warm afterwards."""
    for _ in range(2):
        step()
    return max(1, math.ceil(LEAST_SECONDS / _seconds(step, 1, device)))


def _seconds(step: Callable[[], None], repeats: int, device: torch.device) -> float:
    """Mean seconds of `repeats` steps."""
    _wait_for(device)
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    _wait_for(device)
    return (time.perf_counter() - start) / repeats


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
