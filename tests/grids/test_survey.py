"""What is known of runs before they start, and while they go on."""

import pytest

from tiny import WORDS, make_data
from ufgir.grids.survey import survey
from ufgir.runs.plan import plan_run


@pytest.fixture
def words(tmp_path, monkeypatch) -> tuple[str, ...]:
    make_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    survey.cache_clear()
    return (*WORDS, "dataset.root=data")


def test_a_run_that_finishes_while_its_failure_is_told_has_no_reason(words):
    (run,) = survey((words,))
    assert run.reason == ""
    run.folder.path.mkdir(parents=True)
    run.folder.write_failure("it broke\nat last", run.config)
    assert (run.state, run.reason) == ("failed", "at last")
    run.folder.write_results({"status": "finished"})
    assert run.reason == ""


def test_seeds_are_planned_as_they_are_run(words):
    for job in ((*words, "seed=7"), ("seed=7", *words, "dataset.train_images=${seed}")):
        (run,) = survey((job,))
        assert run.folder.path == plan_run(job).folder.path
        assert run.config["seed"] == 7 and run.words == job
    assert run.source.train_images == 7


@pytest.mark.parametrize("seed", ["5000000000", "-1", "1.5", "x"])
def test_what_is_no_seed_is_found_before_anything_starts(words, seed):
    (run,) = survey(((*words, f"seed={seed}"),))
    assert run.folder is None and run.faults[0].startswith(f"seed={seed}: expected an integer from 0 to 4294967295")
