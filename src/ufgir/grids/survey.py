"""The runs of a grid, each with its configuration, its folder and how far it is; nothing is started or written."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ufgir.config import compose_run, machine_faults, resolve
from ufgir.config.rules import RULES
from ufgir.data import Source, collect
from ufgir.models.backbones import OFFICIAL_FILES, official_file
from ufgir.runs.folder import RunFolder
from ufgir.runs.plan import batch_faults, run_folder

MAX_ATTEMPTS = 3  # a run that failed as often is not tried again
STAND_IN = "4123456789"  # a seed that nobody gives: where else it turns up in a configuration, something reads the seed

Composed = tuple[dict[str, Any] | None, tuple[str, ...]]  # a configuration, unless it has faults, and these


@dataclass(frozen=True)
class PlannedRun:
    """One run of a grid.

    Attributes:
        words: what would be typed for it alone.
        config: resolved; None where the words are faulty.
        folder: None where the data are not here, or the words are faulty.
        source: its data; None where they are not here.
        mistakes: why it cannot start anywhere.
        lacks: what must be here first: data, weights, a device.
    """

    words: tuple[str, ...]
    config: dict[str, Any] | None
    folder: RunFolder | None
    source: Source | None
    mistakes: tuple[str, ...]
    lacks: tuple[str, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """Why it cannot start here and now."""
        return self.mistakes + self.lacks

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
    compose = cache(_compose)  # anew for each grid: the environment may have changed
    return [_planned(job, *_composed(job, compose)) for job in jobs]


def _composed(job: tuple[str, ...], compose: Callable[[tuple[str, ...]], Composed]) -> Composed:
    """A run's configuration: that of its cell with its own seed, unless something else of it reads the seed."""
    seed = next((word.partition("=")[2] for word in job if word.startswith("seed=")), "")
    if not (re.fullmatch("0|[1-9][0-9]*", seed) and RULES["seed"].kind.accepts(int(seed))):  # a fault of the whole
        return compose(job)
    cell = tuple(word for word in job if not word.startswith("seed="))
    config, faults = compose((*cell, f"seed={STAND_IN}"))
    if config is None or STAND_IN in json.dumps({**config, "seed": None}):
        return compose(job)
    return {**config, "seed": int(seed)}, faults


def _compose(words: tuple[str, ...]) -> Composed:
    config, faults = compose_run(list(words))
    return (None if faults else resolve(config)), tuple(faults)


def _planned(words: tuple[str, ...], config: dict[str, Any] | None, faults: tuple[str, ...]) -> PlannedRun:
    if config is None:
        weights = tuple(fault for fault in faults if fault in _weights_to_get())
        return PlannedRun(words, None, None, None, tuple(fault for fault in faults if fault not in weights), weights)
    split_seed = config["seed"] if config["dataset"]["format"] == "folder" else 0
    source, lacks = _source(json.dumps(config["dataset"]), config["protocol"], split_seed)
    lacks += tuple(machine_faults(config))
    if source is None:
        return PlannedRun(words, config, None, None, (), lacks)
    return PlannedRun(words, config, run_folder(config, source), source, tuple(batch_faults(config, source)), lacks)


@cache
def _weights_to_get() -> set[str | None]:
    """What is said of backbones whose weights file is not here yet."""
    return {official_file(name, {}) for name in OFFICIAL_FILES}


@cache
def _source(dataset: str, protocol: str, seed: int) -> tuple[Source | None, tuple[str, ...]]:
    source, faults = collect(json.loads(dataset), protocol=protocol, seed=seed)
    return source, tuple(faults)
