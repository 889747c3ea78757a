"""What comes of a grid whose engine breaks down, by an engine made up for it: like joblib, with two processes."""

import threading
import time
from contextlib import ExitStack

import pytest

from tiny import WORDS, make_data
from ufgir.errors import UserError
from ufgir.grids import launch, queue
from ufgir.grids.survey import MAX_ATTEMPTS, survey
from ufgir.runs.folder import RunFolder


class Engine:
    """Two jobs at a time; when the process of one is killed, the other one dies with it and the rest is not begun.

    Args:
        kill: of the seeds of runs that are always killed, how many whole epochs they come to before that.
    """

    processes = ExitStack()  # those that were killed never come to their end

    def __init__(self, kill: dict[int, int] | None = None) -> None:
        self.kill = kill or {}
        self.launched: list[list[int]] = []  # seeds of each launch

    def __call__(self, jobs, first):
        runs = survey(tuple(tuple(job) for job in jobs))
        self.launched.append([run.config["seed"] for run in runs])
        for pair in (runs[number : number + 2] for number in range(0, len(runs), 2)):
            for run in pair:
                run.folder.path.mkdir(parents=True, exist_ok=True)
                self.processes.enter_context(run.folder.attempt())
            if culprits := [run for run in pair if run.config["seed"] in self.kill]:
                for run in culprits:
                    self.whole_epochs(run)
                raise RuntimeError("a worker was killed")
            for run in pair:
                run.folder.write_results({"status": "finished"})
                run.folder.begun.unlink()
        return [type("Return", (), {"return_value": None})] * len(runs)

    def whole_epochs(self, run) -> None:
        seed = run.config["seed"]
        if self.kill[seed]:
            time.sleep(0.01)  # for another time of the file
            run.folder.checkpoint.write_text("an epoch more")
            self.kill[seed] -= 1
            if not self.kill[seed]:
                del self.kill[seed]


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    make_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    survey.cache_clear()
    monkeypatch.setattr(queue, "WAIT", 0.02)
    return tuple((*WORDS, "dataset.root=data", f"seed={seed}") for seed in range(1, 7))


def swept(jobs, engine, at_once=1000) -> launch.Outcome:
    launch.launch_due(jobs, engine, at_once=at_once)
    return launch.OUTCOMES.pop()


def test_a_run_that_is_always_killed_fails_alone_and_the_others_go_on(jobs):
    engine = Engine(kill={1: 0, 4: 0})
    outcome = swept(jobs, engine)
    assert outcome.done == 4
    assert [words.rpartition(" ")[2] for words in outcome.failed] == ["seed=1", "seed=4"]
    assert all("killed before a whole epoch" in reason for reason in outcome.failed.values())
    assert engine.launched == [[1, 2, 3, 4, 5, 6], [3, 4, 5, 6], [5, 6], [1], [2], [3], [4]]
    failed = survey(jobs)[0]
    assert (failed.state, failed.attempts) == ("failed", 1)


def test_it_is_tried_again_alone_not_for_ever(jobs):
    swept(jobs[:3], Engine(kill={1: 0}))
    for attempt in range(2, MAX_ATTEMPTS + 1):
        engine = Engine(kill={1: 0})
        assert swept(jobs[:4], engine).done == 3
        assert engine.launched[-1] == [1] and survey(jobs)[0].attempts == attempt
        assert len(engine.launched) == (2 if attempt == 2 else 1), "the fourth run does not suffer for the first"
    engine = Engine()
    assert list(swept(jobs[:4], engine).failed.values()) and not engine.launched


def test_a_run_that_comes_to_a_whole_epoch_has_not_failed(jobs):
    engine = Engine(kill={1: 4})
    outcome = swept(jobs[:2], engine)
    assert outcome.done == 2 and not outcome.failed
    assert engine.launched == [[1, 2], [1], [1], [1], [1], [2]]


def test_what_was_killed_with_the_launcher_has_not_failed_and_goes_on_last(jobs):
    with pytest.raises(KeyboardInterrupt):
        swept(jobs, Killed(kill={1: 0}))
    assert [run.state for run in survey(jobs)] == ["missing"] * 6
    engine = Engine()
    assert swept(jobs, engine).done == 6
    assert engine.launched == [[3, 4, 5, 6, 1, 2]]


class Killed(Engine):
    """The launcher is killed with its processes."""

    def __call__(self, jobs, first):
        try:
            return super().__call__(jobs, first)
        except RuntimeError:
            raise KeyboardInterrupt from None


def test_an_engine_that_starts_nothing_is_given_up(jobs):
    launches = []

    def dead(words, first):
        launches.append(len(words))
        raise ConnectionError("no cluster")

    outcome = swept(jobs, dead)
    assert launches == [6] * queue.ROUNDS and outcome.done == 0
    assert set(outcome.failed.values()) == {"it ended without a result; the same command starts it again"}
    assert not any(run.attempts for run in survey(jobs))
    swept(jobs, Engine(kill={1: 0}), at_once=2)
    assert survey(jobs)[0].attempts == 1
    assert "killed" in str(swept(jobs, dead).failed), "and costs no run an attempt"
    assert survey(jobs)[0].attempts == 1


def test_runs_that_outlive_a_breakdown_are_waited_for(jobs):
    begun, threads = threading.Event(), []

    def work(folder):
        with folder.occupied(), folder.attempt():
            begun.set()
            time.sleep(0.5)
            folder.write_results({"status": "finished"})

    def half_dead(words, first):
        if not threads:
            threads.append(threading.Thread(target=work, args=(survey(jobs)[1].folder,)))
            threads[0].start()
            begun.wait()
        raise RuntimeError("one of two processes was killed")

    assert swept(jobs[:2], half_dead).done == 1


def test_a_mark_is_left_by_the_killed_alone(tmp_path):
    folder = RunFolder(tmp_path)
    for end in (UserError("mistake"), KeyboardInterrupt(), SystemExit(), RuntimeError()):
        with pytest.raises(type(end)), folder.attempt():
            assert folder.was_cut_short()
            raise end
        assert not folder.was_cut_short()
