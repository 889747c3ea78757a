"""Which runs an engine gets next, and what becomes of those with which it broke down."""

import time
from collections import Counter
from collections.abc import Sequence

from ufgir.grids.survey import PlannedRun
from ufgir.runs.lighter import lighter_training

ROUNDS = 3  # breakdowns without a trace of any run, after which runs are not handed over again
WAIT = 2.0  # seconds between looks at runs that outlive a breakdown
KILLED = (
    "its process was killed before a whole epoch, though it was started alone: most likely memory ran out, of which "
    "dmesg tells, or a library crashed."
)


class Queue:
    """The runs of a grid that are due, in the order in which an engine gets them.

    A process may be killed for what it does, and no engine says which run it was: joblib ends all processes with the
    one that was killed. So runs that were cut short wait until the others are through, and are then started one at a
    time. What is killed then has failed by itself, as if it had said so.

    Args:
        due: runs that are to be started.
        at_once: how many an engine gets at a time.
    """

    def __init__(self, due: Sequence[PlannedRun], at_once: int) -> None:
        self._at_once = at_once
        self._alone = [run for run in due if run.was_cut_short and run.state == "failed"]  # of an earlier command
        together = [run for run in due if not (run.was_cut_short and run.state == "failed")]
        self._together = sorted(together, key=lambda run: run.was_cut_short)
        self._in_vain: Counter[tuple[str, ...]] = Counter()
        self._batch: list[PlannedRun] = []
        self._before: list[tuple] = []

    def take(self) -> list[PlannedRun]:
        """The next runs to hand over; none when all are through."""
        line, count = (self._together, self._at_once) if self._together else (self._alone, 1)
        self._batch, line[:count] = line[:count], []
        self._before = [run.trace for run in self._batch]
        return self._batch

    def take_back(self) -> None:
        """Queue again what an engine that broke down has left of the runs that it got last."""
        _wait_for(self._batch)
        pairs = [(run, before, run.trace) for run, before in zip(self._batch, self._before, strict=True)]
        left = [(run, before != now) for run, before, now in pairs if before[0] == now[0]]  # the others have results
        killed = [run for run, has_begun in left if has_begun and run.was_cut_short]
        if killed == self._batch and len(killed) == 1:
            config = killed[0].config
            killed[0].folder.write_failure(f"{KILLED} {lighter_training(config)}", config)
            return
        if all(before == now for _, before, now in pairs):
            self._in_vain.update(run.words for run in self._batch)
        self._alone += killed
        self._together += [run for run, _ in left if run not in killed and self._in_vain[run.words] < ROUNDS]


def _wait_for(runs: Sequence[PlannedRun]) -> None:
    """Some engines go on with the runs that were not killed, and end them only with this process."""
    while any(run.state == "running" for run in runs):
        time.sleep(WAIT)
