"""What is known of runs before they start, and while they go on."""

import pytest

from tiny import WORDS, make_data
from ufgir.grids.survey import survey


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
