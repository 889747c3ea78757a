"""Start the runs of a grid that are due, by whichever engine, and account for each of them."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ufgir.data import image_faults
from ufgir.errors import UserError
from ufgir.grids.queue import Queue
from ufgir.grids.survey import MAX_ATTEMPTS, PlannedRun, survey
from ufgir.runs.announce import show
from ufgir.runs.plan import output_faults

Launch = Callable[[Sequence[Sequence[str]], int], Sequence[Any]]  # words of jobs and index of the first -> returns


@dataclass
class Outcome:
    """What came of a multirun.

    Attributes:
        failed: words of each failed run -> its reason.
        done: number of runs that came to their end, now or before.
    """

    failed: dict[str, str] = field(default_factory=dict)
    done: int = 0

    def show(self) -> None:
        """The closing table, after all else that the runs have said."""
        print(f"\n{self.done} runs finished, {len(self.failed)} failed", file=sys.stderr)
        for words, reason in self.failed.items():
            print(f"  failed: {words}\n      {reason}", file=sys.stderr)


OUTCOMES: list[Outcome] = []  # of the multiruns of this process: Hydra hands nothing back of them


def refuse_faulty(runs: Sequence[PlannedRun]) -> None:
    """See that every run of a grid can start, before the first one does.

    Raises:
        UserError: the faults of all of them, each fault once.
    """
    faults = dict.fromkeys(fault for run in runs for fault in run.faults)
    sources = {id(run.source): run for run in runs if run.source is not None and run.is_due}
    for run in sources.values():
        if run.source.render is None:
            faults.update(dict.fromkeys(image_faults(run.source, run.config["trainer"]["progress"])))
    roots = {run.config["output_root"]: run.config for run in runs if run.config is not None and run.is_due}
    faults.update(dict.fromkeys(fault for config in roots.values() for fault in output_faults(config)))
    if faults:
        raise UserError(*faults)


def launch_due(jobs: tuple[tuple[str, ...], ...], launch: Launch, *, at_once: int) -> None:
    """Bring a grid to its end: skip what is finished or running elsewhere, start the rest, and sum up in `OUTCOMES`.

    Args:
        jobs: the words of each run.
        launch: of the engine.
        at_once: jobs handed over at a time; 1 for an engine that runs them one after the other, so that thousands of
            them leave nothing in memory.
    """
    runs = survey(jobs)
    due = [run for run in runs if run.is_due]
    _announce(runs, due)
    OUTCOMES.append(_outcome(runs, _launch_all(Queue(due, at_once), launch)))


def _launch_all(queue: Queue, launch: Launch) -> dict[tuple[str, ...], str]:
    """Launch runs until none is left in the queue; returns the words of each that failed to start, and its reason."""
    reasons: dict[tuple[str, ...], str] = {}
    started = 0
    while batch := queue.take():
        try:
            returns = launch([run.words for run in batch], started)
            reasons.update((run.words, _reason(back)) for run, back in zip(batch, returns, strict=True))
        except Exception as error:  # an engine breaks down in its own ways: a killed worker, a lost cluster
            print(f"the launcher broke down ({type(error).__name__}: {error}); starting what is left", file=sys.stderr)
            queue.take_back()
        started += len(batch)
    return reasons


def _reason(back: Any) -> str:
    """Why a job failed, by what Hydra hands back of it; empty if it did not."""
    try:
        return back.return_value or ""
    except Exception as error:  # what ended the job
        return f"{type(error).__name__}: {error}"


def _announce(runs: Sequence[PlannedRun], due: Sequence[PlannedRun]) -> None:
    states = [run.state for run in runs]
    counts = {state: states.count(state) for state in ("finished", "running", "failed", "interrupted", "missing")}
    given_up = sum(run.state == "failed" and not run.is_due for run in runs)
    rows = {state: str(count) for state, count in counts.items() if count}
    if given_up:
        rows["given up"] = f"{given_up}, which failed {MAX_ATTEMPTS} times; remove their results.json to try again"
    show(f"{len(runs):,} runs, {len(due):,} to start", rows)


def _outcome(runs: Sequence[PlannedRun], reasons: Mapping[tuple[str, ...], str]) -> Outcome:
    outcome = Outcome()
    for run in runs:
        state = run.state
        if state == "finished":
            outcome.done += 1
        elif state == "failed":
            outcome.failed[" ".join(run.words)] = f"{run.reason} ({run.folder.path})"
        elif state != "running":
            reason = reasons.get(run.words) or "it ended without a result; the same command starts it again"
            outcome.failed[" ".join(run.words)] = reason
    return outcome
