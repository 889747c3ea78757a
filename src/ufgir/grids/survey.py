"""The runs of a grid, each with its configuration, its folder and how far it is; nothing is started or written."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ufgir.config import compose_run, machine_faults, resolve
from ufgir.data import Source, collect
from ufgir.runs.folder import RunFolder
from ufgir.runs.plan import batch_faults, run_folder

MAX_ATTEMPTS = 3  # a run that failed as often is not tried again


@dataclass(frozen=True)
class PlannedRun:
    """One run of a grid.

    Attributes:
        words: what would be typed for it alone.
        config: resolved; None where the words are faulty.
        folder: None where the data are not here, or the words are faulty.
        source: its data; None where they are not here.
        faults: why it cannot start.
    """

    words: tuple[str, ...]
    config: dict[str, Any] | None
    folder: RunFolder | None
    source: Source | None
    faults: tuple[str, ...]

    @property
    def state(self) -> str:
        """As `RunFolder.state`."""
        return "missing" if self.folder is None else self.folder.state()

    @property
    def is_due(self) -> bool:
        """Whether it is still to be run: not finished, not running, and not failed too often."""
        state = self.state
        return state in ("missing", "interrupted") or (state == "failed" and self.attempts < MAX_ATTEMPTS)

    @property
    def attempts(self) -> int:
        """How often it failed."""
        results = None if self.folder is None else self.folder.read_results()
        return 0 if results is None or results["status"] == "finished" else results.get("attempts", 1)

    @property
    def reason(self) -> str:
        """Why it failed, in a line; empty if it goes on or has finished meanwhile."""
        results = None if self.folder is None else self.folder.read_results()
        return ((results or {}).get("reason", "").strip().splitlines() or [""])[-1]

    @property
    def was_cut_short(self) -> bool:
        """As `RunFolder.was_cut_short`."""
        return self.folder is not None and self.folder.was_cut_short()

    @property
    def trace(self) -> tuple[int | None, ...]:
        """As `RunFolder.trace`."""
        return (None,) if self.folder is None else self.folder.trace()


@cache
def survey(jobs: tuple[tuple[str, ...], ...]) -> list[PlannedRun]:
    """Plan every job. Seeds of the same cell are composed once, and so is each choice from a group."""
    seeded = [_without_seed(job) for job in jobs]
    cells = {words: _compose(words) for words in dict.fromkeys(words for words, _ in seeded)}
    return [_planned(words, seed, *cells[words]) for words, seed in seeded]


def _without_seed(job: Sequence[str]) -> tuple[tuple[str, ...], str | None]:
    """The words of a run but its seed, and the seed."""
    seed = next((word.partition("=")[2] for word in job if word.startswith("seed=")), None)
    if seed is None or not seed.isdigit():  # what is no seed is told as a fault of the whole
        return tuple(job), None
    return tuple(word for word in job if not word.startswith("seed=")), seed


def _compose(words: tuple[str, ...]) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    config, faults = compose_run(list(words))
    return (None if faults else resolve(config)), tuple(faults)


def _planned(
    words: tuple[str, ...], seed: str | None, config: dict[str, Any] | None, faults: tuple[str, ...]
) -> PlannedRun:
    words = words if seed is None else (*words, f"seed={seed}")
    if config is None:
        return PlannedRun(words, None, None, None, faults)
    if seed is not None:
        config = {**config, "seed": int(seed)}
    split_seed = config["seed"] if config["dataset"]["format"] == "folder" else 0
    source, faults = _source(json.dumps(config["dataset"]), config["protocol"], split_seed)
    faults += tuple(machine_faults(config))
    if source is None:
        return PlannedRun(words, config, None, None, faults)
    return PlannedRun(words, config, run_folder(config, source), source, faults + tuple(batch_faults(config, source)))


@cache
def _source(dataset: str, protocol: str, seed: int) -> tuple[Source | None, tuple[str, ...]]:
    source, faults = collect(json.loads(dataset), protocol=protocol, seed=seed)
    return source, tuple(faults)
