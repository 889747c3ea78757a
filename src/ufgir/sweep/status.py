"""The runs of a grid, each with its configuration, its folder and its state. Nothing is started or written."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress_bar import ProgressBar

from ufgir.config import RunConfig
from ufgir.config.checks import check_resources
from ufgir.config.compose import Composer
from ufgir.data import ImageDataModule
from ufgir.errors import UserError
from ufgir.models.cost import estimate_cost
from ufgir.sweep.grid import Job, label, varied_axes
from ufgir.sweep.slurm import SlurmJob, SlurmQueue
from ufgir.training.build import build_data, run_folder
from ufgir.training.facts import print_table
from ufgir.training.run_folder import RunFolder

MAX_ATTEMPTS = 3  # a run that failed as often is not started again
SHOWN = 20  # failed runs
RECENT = 6 * 3600  # seconds over which the rate is measured
# Costs: a training step is a forward pass and about twice as much backward. The authors' unreduced ViT-B/16 at 448 px
# on an RTX 3090 takes 174 images/s of 78.5 GMACs in mixed precision.
TRAINING_PASSES = 3
MACS_PER_SECOND, PACE_SOURCE = 174 * 78.5e9, "RTX 3090, mixed precision: 13.7 TMACs/s"
CHECKPOINT_COPIES = {"none": 0, "weights": 1, "all": 4}  # numbers kept for each parameter


@dataclass(frozen=True)
class PlannedRun:
    """One run of a grid.

    Attributes:
        overrides: what would be typed for it alone.
        config: its configuration.
        data: its data module; None where the data are missing.
        missing: what must be on this machine first: data, weights.
        folder: None while anything is missing: the name of a run depends on it.
        queue: of SLURM, shared by the runs of a grid.
    """

    overrides: Job
    config: RunConfig
    data: L.LightningDataModule | None
    missing: list[str]
    folder: RunFolder | None
    queue: SlurmQueue = field(repr=False)

    @property
    def job(self) -> SlurmJob | None:
        """Its job, if SLURM has one that waits or runs."""
        return None if self.folder is None else self.queue.active(self.folder.path)

    @property
    def state(self) -> str:
        """As `RunFolder.state`, or `queued`; a run that was killed too often has failed."""
        if self.folder is None:
            return "missing"
        state = self.folder.state()
        if state not in ("finished", "running") and (job := self.job) is not None:
            return "running" if job.state == "RUNNING" else "queued"
        return "failed" if state in ("interrupted", "missing") and self.attempts >= MAX_ATTEMPTS else state

    @property
    def log(self) -> Path | None:
        """The log of its last job of SLURM."""
        job = None if self.folder is None else self.queue.jobs.get(self.folder.path.absolute())
        return None if job is None else job.file("log.out")

    @property
    def attempts(self) -> int:
        return 0 if self.folder is None else self.folder.attempts()

    @property
    def is_due(self) -> bool:
        """Whether it is still to be run: not finished, not running, and not failed too often."""
        state = self.state
        return state in ("missing", "interrupted") or (state == "failed" and self.attempts < MAX_ATTEMPTS)

    @property
    def reason(self) -> str:
        """Why it failed, in a line."""
        results = None if self.folder is None else self.folder.read_results()
        if results is None:
            return f"its process was killed {self.attempts} times before a whole epoch; most likely memory ran out"
        return (results.get("reason", "").strip().splitlines() or [""])[-1]


def plan_runs(jobs: Sequence[Job], composer: Composer, *, to_start: bool = False) -> list[PlannedRun]:
    """Plan every job of a grid.

    Args:
        to_start: what is missing on this machine is an error, too, and images are checked.

    Raises:
        UserError: the errors of all runs, each once.
    """
    queue, runs, errors, data = SlurmQueue(), [], {}, {}
    for job in jobs:
        try:
            runs.append(run := _planned(job, composer, queue, data))
            errors |= dict.fromkeys(run.missing if to_start else ())
        except UserError as error:
            errors |= dict.fromkeys(error.messages)
    queue.watch(run.folder.path.parent for run in runs if run.folder is not None)
    for images in {id(run.data): run.data for run in runs if to_start and run.is_due}.values():
        if isinstance(images, ImageDataModule):
            try:
                images.check_images()
            except UserError as error:
                errors |= dict.fromkeys(error.messages)
    if errors:
        raise UserError(*errors)
    return runs


def _planned(job: Job, composer: Composer, queue: SlurmQueue, known: dict[str, Any]) -> PlannedRun:
    """`known` holds the data modules of earlier runs; runs with the same data and augmentation share one."""
    config = composer.load(job, resources=False)
    missing, data = list(check_resources(config)), None
    uses_seed = config.protocol == "cv" or config.dataset.arguments().get("format") == "folder"
    parts = [config.dataset.model_dump(), config.augment.model_dump(), config.image_size, config.protocol]
    key = json.dumps([*parts, config.fold, config.folds, config.seed if uses_seed else None])
    if key not in known:
        try:
            known[key] = build_data(config)
        except UserError as error:
            known[key] = error
    if isinstance(known[key], UserError):
        missing += known[key].messages
    else:
        data = known[key]
        if isinstance(data, ImageDataModule):
            data.check_batch_size(config.batch_size)
    return PlannedRun(job, config, data, missing, None if missing else run_folder(config, data), queue)


def summary(name: str, jobs: Sequence[Job], runs: Sequence[PlannedRun]) -> dict[str, Any]:
    """The state of a grid as plain values, for `--json`."""
    states = Counter(run.state for run in runs)
    return {
        "sweep": name,
        "runs": len(runs),
        "by_axis": {axis: dict(Counter(label(job, axis) or "default" for job in jobs)) for axis in varied_axes(jobs)},
        "done": states["finished"],
        "running": states["running"],
        "queued": states["queued"],
        "queued_for": dict(Counter(run.job.reason or run.job.state for run in runs if run.state == "queued")),
        "failed": states["failed"],
        "missing": states["missing"] + states["interrupted"],
        "interrupted": states["interrupted"],
        **estimate(runs),
        "not_available": list(dict.fromkeys(text for run in runs for text in run.missing))
        + [f"SLURM's queue ({run.queue.error})" for run in runs[:1] if run.queue.error],
    }


def estimate(runs: Sequence[PlannedRun]) -> dict[str, Any]:
    """Work, time and disk of a grid, at the pace of its finished runs or, without any, at the authors'."""
    macs, parameters = {}, 0
    done_macs = done_seconds = done = 0
    for run in runs:
        classes, trained, tested = _images(run)
        cost = estimate_cost(**run.config.model_arguments(classes))
        batch = run.config.batch_size
        steps = trained // batch * batch * run.config.trainer.max_epochs
        macs[run.overrides] = cost.macs * (TRAINING_PASSES * steps + tested)
        parameters += cost.parameters
        results = run.folder.read_results() if run.folder is not None else None
        if results and results["status"] == "finished" and results.get("train_minutes"):
            done, done_macs = done + 1, done_macs + macs[run.overrides]
            done_seconds += 60 * results["train_minutes"]
    pace, source = (
        (done_macs / done_seconds, f"{done} finished runs") if done_seconds else (MACS_PER_SECOND, PACE_SOURCE)
    )
    left = sum(macs.get(run.overrides, 0) for run in runs if run.is_due)
    disk = {keep: (4 * copies * parameters + 2e5 * len(runs)) / 1e9 for keep, copies in CHECKPOINT_COPIES.items()}
    return {
        "gmacs": round(sum(macs.values()) / 1e9, 1),
        "gpu_hours": round(sum(macs.values()) / pace / 3600, 2),
        "gpu_hours_left": round(left / pace / 3600, 2),
        "gpu_hours_from": source,
        "disk_gb": {keep: round(size, 3) for keep, size in disk.items()},
    }


def _images(run: PlannedRun) -> tuple[int, int, int]:
    """Classes, and images trained and tested on; as published while the data are not here."""
    if isinstance(run.data, ImageDataModule):
        splits = run.data.splits
        held = splits.val if run.config.protocol == "val" else splits.test
        return splits.num_classes, len(splits.train), len(held)
    expected = run.config.dataset.arguments().get("expected")
    if expected is None:
        return 100, 0, 0
    trained, tested = {"val": ("train", "val"), "holdout": ("train", "test")}.get(
        run.config.protocol, ("train_val", "test")
    )
    return expected["classes"], expected[trained], expected[tested]


def print_plan(facts: dict[str, Any]) -> None:
    """Runs by axis, their states, and what they cost."""
    axes = {
        axis: ", ".join(f"{value}: {count}" for value, count in counts.items())
        for axis, counts in facts["by_axis"].items()
    }
    print_table(
        f"sweep={facts['sweep']}: {facts['runs']:,} runs",
        {
            **axes,
            "state": _states(facts),
            "work": f"{_amount(facts['gmacs'] / 1e6)} PMACs of training and testing",
            "time": f"{_amount(facts['gpu_hours'])} GPU-hours, {_amount(facts['gpu_hours_left'])} of them left "
            f"(from {facts['gpu_hours_from']})",
            "disk": ", ".join(f"{_amount(size)} GB with keep={keep}" for keep, size in facts["disk_gb"].items()),
        },
    )
    for text in facts["not_available"]:
        print(f"not available here: {text}")
    print(f"start: {facts['start']}")


def print_status(facts: dict[str, Any], runs: Sequence[PlannedRun]) -> None:
    """A bar, the rate and the time left, and the failures with their reasons."""
    console = Console(highlight=False)
    console.print(f"\n[bold]sweep={facts['sweep']}[/bold]  {facts['done']:,} of {facts['runs']:,} runs")
    console.print(ProgressBar(total=facts["runs"], completed=facts["done"], width=min(60, console.width)))
    since = time.time() - RECENT
    times = sorted(run.folder.results.stat().st_mtime for run in runs if run.state == "finished")
    times = [moment for moment in times if moment >= since]
    rate = 3600 * (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0
    left = facts["runs"] - facts["done"]
    unknown = "not known yet: fewer than two runs finished in the last 6 hours"
    pace = f"{rate:.1f} runs an hour, {left / rate:.1f} hours left" if rate else unknown
    print_table("", {"state": _states(facts), "rate": pace if left else "finished"})
    for text in facts["not_available"]:
        print(f"not available here: {text}")
    failed = [run for run in runs if run.state == "failed"]
    for run in failed[:SHOWN]:
        print(f"failed ({run.attempts} of {MAX_ATTEMPTS} attempts): {' '.join(run.overrides)}\n    {run.reason}")
        if run.log is not None:
            print(f"    log: {run.log}")
    if len(failed) > SHOWN:
        print(f"and {len(failed) - SHOWN} more")


def _amount(value: float) -> str:
    """A number with one decimal, or with two digits if it is below 1."""
    return f"{value:,.1f}" if value >= 1 or value == 0 else f"{value:.2g}"


def _states(facts: dict[str, Any]) -> str:
    interrupted = f" ({facts['interrupted']} of them started)" if facts["interrupted"] else ""
    waiting = ", ".join(f"{count} {reason}" for reason, count in facts["queued_for"].items())
    queued = f"{facts['queued']} queued ({waiting}), " if facts["queued"] else ""
    return (
        f"{facts['done']} done, {facts['running']} running, {queued}{facts['failed']} failed, "
        f"{facts['missing']} missing{interrupted}"
    )
