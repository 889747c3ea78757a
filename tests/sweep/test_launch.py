"""What becomes of a grid whose launcher breaks down: a made-up one like joblib, with two workers."""

import threading
import time

import pytest
from hydra.core.utils import JobReturn, JobStatus

from tiny import TINY
from ufgir.config.compose import Composer
from ufgir.errors import RunFailed
from ufgir.sweep import launch
from ufgir.sweep.status import MAX_ATTEMPTS, plan_runs

RETURN = JobReturn(status=JobStatus.COMPLETED)


class Engine:
    """Two jobs at a time. When the process of one is killed, the other one dies with it, and the rest is not started.

    Args:
        kill: seeds of runs that are killed -> whole epochs that they reach before that, over all their attempts.
    """

    def __init__(self, kill=None):
        self.kill, self.launched = kill or {}, []

    def __call__(self, runs, first):
        self.launched.append([run.config.seed for run in runs])
        for pair in (runs[number : number + 2] for number in range(0, len(runs), 2)):
            for run in pair:
                run.folder.path.mkdir(parents=True, exist_ok=True)
                run.folder.begin_attempt()
            if culprits := [run for run in pair if run.config.seed in self.kill]:
                for run in culprits:
                    self.reach_epochs(run)
                raise RuntimeError("a worker was killed")
            for run in pair:
                run.folder.write_results({"status": "finished"})
        return [RETURN] * len(runs)

    def reach_epochs(self, run):
        seed = run.config.seed
        if self.kill[seed]:
            time.sleep(0.01)  # for another time of the file
            run.folder.checkpoint.write_text("another epoch")
            self.kill[seed] -= 1
            if not self.kill[seed]:
                del self.kill[seed]


@pytest.fixture
def jobs(here, monkeypatch):
    monkeypatch.setattr(launch, "POLL_SECONDS", 0.02)
    return [(*TINY, f"seed={seed}") for seed in range(1, 7)]


def sweep(jobs, engine):
    """Seeds of the runs that failed, and the reasons."""
    try:
        launch.launch_due(jobs, Composer(), engine)
    except RunFailed as error:
        lines = str(error).splitlines()
        return {int(line.rpartition("seed=")[2]): reason for line, reason in zip(lines[::2], lines[1::2], strict=True)}
    return {}


def states(jobs):
    return [run.state for run in plan_runs(jobs, Composer())]


def test_a_run_that_is_always_killed_fails_alone(jobs):
    engine = Engine(kill={1: 0, 4: 0})
    failed = sweep(jobs, engine)
    assert set(failed) == {1, 4} and all("killed" in reason for reason in failed.values())
    assert states(jobs) == ["failed", "finished", "finished", "failed", "finished", "finished"]
    assert all(len(batch) == 1 for batch in engine.launched[3:]), "what had started is started again one at a time"
    again = Engine()
    assert set(sweep(jobs, again)) == {1, 4} and not again.launched, "not for ever"
    assert plan_runs(jobs, Composer())[0].attempts == MAX_ATTEMPTS


def test_a_run_that_reaches_another_epoch_has_not_failed(jobs):
    assert sweep(jobs[:2], Engine(kill={1: 4})) == {}


def test_what_was_killed_with_the_launcher_continues(jobs):
    class Killed(Engine):
        def __call__(self, runs, first):
            try:
                return super().__call__(runs, first)
            except RuntimeError:
                raise KeyboardInterrupt from None

    with pytest.raises(KeyboardInterrupt):
        sweep(jobs, Killed(kill={1: 0}))
    assert states(jobs) == ["missing"] * 6
    engine = Engine()
    assert sweep(jobs, engine) == {} and sorted(engine.launched[0]) == [1, 2, 3, 4, 5, 6]


def test_a_launcher_that_starts_nothing_is_given_up(jobs):
    launches = []

    def dead(runs, first):
        launches.append(len(runs))
        raise ConnectionError("no cluster")

    assert set(sweep(jobs, dead)) == set(range(1, 7))
    assert launches == [6] * (1 + launch.LOST)
    assert not any(run.attempts for run in plan_runs(jobs, Composer()))


def test_runs_that_outlive_a_breakdown_are_waited_for(jobs):
    started, threads = threading.Event(), []

    def work(folder):
        with folder.lock():
            folder.begin_attempt()
            started.set()
            time.sleep(0.5)
            folder.write_results({"status": "finished"})

    def half_dead(batch, first):
        if not threads:
            threads.append(threading.Thread(target=work, args=(plan_runs(jobs, Composer())[1].folder,)))
            threads[0].start()
            started.wait()
        raise RuntimeError("one of two workers was killed")

    sweep(jobs[:2], half_dead)
    assert states(jobs[:2])[1] == "finished"


def test_a_run_that_is_lost_alone_is_launched_again(jobs):
    """As launchers of SLURM and Ray report it: the other runs are not disturbed."""
    launched = []

    def launch_one_dies(runs, first):
        launched.append(len(runs))
        for run in runs:
            run.folder.path.mkdir(parents=True, exist_ok=True)
            run.folder.begin_attempt()
            if run.config.seed != 2 or len(launched) == 3:
                run.folder.write_results({"status": "finished"})
        return [RETURN if run.folder.is_finished() else JobReturn() for run in runs]

    assert sweep(jobs, launch_one_dies) == {} and launched == [6, 1, 1]
    assert states(jobs) == ["finished"] * 6


def test_runs_at_work_elsewhere_end_no_command_with_success(jobs):
    first = plan_runs(jobs, Composer())[0].folder
    with first.lock(), pytest.raises(RunFailed, match="elsewhere"):
        launch.launch_due(jobs, Composer(), Engine())
    assert states(jobs)[1:] == ["finished"] * 5
