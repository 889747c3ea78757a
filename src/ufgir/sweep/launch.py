"""Start the runs of a grid that are due, with any launcher, and report the result of each."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

from hydra.core.utils import JobReturn, JobStatus

from ufgir.config.compose import Composer
from ufgir.errors import RunFailed, UserError
from ufgir.sweep.grid import Job
from ufgir.sweep.status import MAX_ATTEMPTS, PlannedRun, plan_runs
from ufgir.training.facts import print_table

Launch = Callable[[Sequence[PlannedRun], int], Sequence[JobReturn]]  # runs and number of the first -> returns
LOST = 3  # times that a launcher may break down with a run that never started
POLL_SECONDS = 2.0


def launch_due(
    jobs: Sequence[Job],
    composer: Composer,
    launch: Launch,
    *,
    one_by_one: bool = False,
    adopts: bool = False,
    wait: bool = True,
) -> None:
    """Bring a grid to its end: skip what is finished or running elsewhere, start the rest, and sum up.

    A launcher that loses a worker does not say which run killed it: joblib ends all workers together. So runs that
    had started then are started again one at a time, and one that is killed three times alone has failed.

    Args:
        jobs: the overrides of each run.
        composer: of their configurations.
        launch: of the launcher.
        one_by_one: runs are handed over singly, to a launcher that runs one after the other.
        adopts: the launcher also waits for the runs that are in SLURM's queue already.
        wait: the launcher returns when its runs have ended.

    Raises:
        UserError: the errors of all runs, before the first one starts.
        RunFailed: some runs failed, or are still running elsewhere.
    """
    runs = plan_runs(jobs, composer, to_start=True)
    due = [run for run in runs if run.is_due]
    states = Counter(run.state for run in runs)
    rows = {state: str(count) for state, count in states.items()}
    if given_up := states["failed"] - sum(run.state == "failed" for run in due):
        rows["given up"] = f"{given_up}, which failed {MAX_ATTEMPTS} times; start them alone to try again"
    print_table(f"{len(runs):,} runs, {len(due):,} to start", rows)
    if adopts:
        due += [run for run in runs if run.job is not None and run.state != "finished"]
    reasons = _launch_all(due, launch, one_by_one, wait)
    runs[0].queue.refresh()
    failed, done, at_work = {}, 0, 0
    for run in runs:
        state = run.state
        done += state == "finished"
        at_work += state in ("running", "queued")
        if state not in ("finished", "running", "queued"):
            reason = reasons.get(run.overrides) or (run.reason if state == "failed" else "it ended without a result")
            failed[" ".join(run.overrides)] = f"{reason} ({run.log or run.folder.path})"
    more = f", {at_work} queued or running" if at_work else ""
    print(f"\n{done} runs finished, {len(failed)} failed{more}", file=sys.stderr)
    if at_work and wait:
        failed["The others"] = "are still queued or running elsewhere; `ufgir sweep status` follows them."
    if failed:
        raise RunFailed("\n".join(f"{overrides}\n    {reason}" for overrides, reason in failed.items()))


def _launch_all(due: Sequence[PlannedRun], launch: Launch, one_by_one: bool, wait: bool) -> dict[Job, str]:
    """Launch runs until none is left; returns the overrides of each that failed to start, with the reason."""
    together, alone = list(due), []
    lost: Counter[Job] = Counter()
    reasons: dict[Job, str] = {}
    started = 0
    while together or alone:
        queue = together or alone
        count = 1 if one_by_one or not together else len(queue)
        batch, queue[:count] = queue[:count], []
        before = [run.folder.last_attempt() for run in batch]
        try:
            returns = launch(batch, started)
            reasons.update((run.overrides, _reason(back)) for run, back in zip(batch, returns, strict=True))
            batch[0].queue.refresh()
            for run, back in zip(batch, returns, strict=True):
                if wait and back.status is JobStatus.UNKNOWN and run.is_due and lost[run.overrides] < LOST:
                    lost[run.overrides] += 1  # its process was killed, and no other one with it
                    together.append(run)
        except (UserError, RunFailed):
            raise
        except Exception as error:  # launchers break down in their own ways: a killed worker, a lost cluster
            print(f"the launcher broke down ({type(error).__name__}: {error}); starting what is left", file=sys.stderr)
            while any(run.state == "running" for run in batch):  # some launchers go on with the other workers
                time.sleep(POLL_SECONDS)
            for run, attempt in zip(batch, before, strict=True):
                if run.state not in ("missing", "interrupted"):
                    continue
                if run.folder.last_attempt() != attempt:
                    alone.append(run)
                elif lost[run.overrides] < LOST:
                    lost[run.overrides] += 1
                    together.append(run)
        started += len(batch)
    return reasons


def _reason(back: JobReturn) -> str:
    """Why a job failed; empty if it did not."""
    return str(back._return_value) if back.status is JobStatus.FAILED else ""
