"""What a grid costs: work, time and disk, from its finished runs and otherwise from what is known beforehand."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ufgir.grids.survey import PlannedRun
from ufgir.models.forecast import Forecast, forecast

TRAINING = 3  # forward passes that a training step costs: forward, and about twice as much backward
# The authors' unreduced ViT-B/16 at 448 px on an RTX 3090: 174 images/s of 78.5 GMACs in mixed precision.
MACS_PER_SECOND = 174 * 78.5e9
STATED = "RTX 3090, mixed precision: 13.7 TMACs/s"
NUMBER = 4  # bytes of a stored number
STATES = 4  # numbers of a training checkpoint for each parameter: weights, two moments, and a weights file beside it
LITTLE = 200e3  # bytes of a run folder without weights


@dataclass(frozen=True)
class Estimate:
    """Of all runs of a grid.

    Attributes:
        gmacs: of training and testing, 10^9 multiply-accumulates.
        gpu_hours: of all runs.
        gpu_hours_left: of those that are still to be run.
        basis: what the hours were estimated from.
        disk_gb: by `keep`, 10^9 bytes.
    """

    gmacs: float
    gpu_hours: float
    gpu_hours_left: float
    basis: str
    disk_gb: dict[str, float]


def estimate(runs: Sequence[PlannedRun]) -> Estimate:
    """Estimate a grid; runs whose configuration is faulty count like the mean of the others."""
    known = [(run, *_work(run.config, run)) for run in runs if run.config is not None]
    share = len(runs) / len(known) if known else 0.0
    work = {id(run): macs for run, macs, _ in known}
    pace, basis = _pace([(run, macs) for run, macs, _ in known])
    seconds = {name: macs / pace for name, macs in work.items()}
    left = sum(seconds.get(id(run), 0.0) for run in runs if run.is_due)
    parameters = share * sum(cost.parameters for *_, cost in known)
    disk = {"none": 0.0, "weights": NUMBER * parameters, "all": NUMBER * STATES * parameters}
    return Estimate(
        gmacs=share * sum(work.values()) / 1e9,
        gpu_hours=share * sum(seconds.values()) / 3600,
        gpu_hours_left=share * left / 3600,
        basis=basis,
        disk_gb={keep: (size + LITTLE * len(runs)) / 1e9 for keep, size in disk.items()},
    )


def _work(config: dict[str, Any], run: PlannedRun) -> tuple[float, Forecast]:
    """Multiply-accumulates of a whole run, and the forecast of its model."""
    classes, trained, tested = _counts(config, run)
    cost = forecast(config, classes)
    batch = config["optim"]["batch_size"]
    return cost.macs * (TRAINING * (trained // batch * batch) * config["trainer"]["max_epochs"] + tested), cost


def _counts(config: dict[str, Any], run: PlannedRun) -> tuple[int, int, int]:
    """Classes, and images trained and tested on; as published while the data are not here."""
    if run.source is not None:
        return run.source.num_classes, len(run.source.train), len(run.source.test)
    expected = config["dataset"].get("expected")
    if expected is None:
        return 100, 0, 0
    trained, tested = ("train_val", "test") if config["protocol"] == "test" else ("train", "val")
    return expected["classes"], expected[trained], expected[tested]


def _pace(work: Iterable[tuple[PlannedRun, float]]) -> tuple[float, str]:
    """Multiply-accumulates a second, of the finished runs if there are any, and where it comes from."""
    macs = minutes = count = 0
    for run, size in work:
        if run.state == "finished":
            results = run.folder.read_results()
            macs, minutes, count = macs + size, minutes + results["train_minutes"], count + 1
    if count and minutes > 0:
        return macs / (60 * minutes), f"{count} finished runs"
    return MACS_PER_SECOND, STATED
