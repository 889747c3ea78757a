"""A run's folder: whose it is, and when it is taken away again."""

import threading
import time

import pytest
from filelock import FileLock

from tiny import WORDS, make_data
from ufgir.errors import UserError
from ufgir.runs import start
from ufgir.runs.folder import RunFolder
from ufgir.runs.plan import plan_run


def stumble(folder: RunFolder, *, after_training: bool) -> None:
    with pytest.raises(UserError, match="no room"), folder.occupied():
        if after_training:
            folder.checkpoint.touch()
        raise UserError("no room")


def test_a_mistake_leaves_nothing_of_a_new_run_but_what_was_trained(tmp_path):
    folder = RunFolder(tmp_path / "outputs" / "run")
    stumble(folder, after_training=False)
    assert list(tmp_path.iterdir()) == []
    stumble(folder, after_training=True)
    assert folder.state() == "interrupted"
    stumble(folder, after_training=False)
    assert folder.state() == "interrupted"


def test_whoever_only_looks_keeps_no_run_out(tmp_path):
    folder, looks = RunFolder(tmp_path), threading.Event()

    def look():
        with FileLock(tmp_path / ".lock"):
            looks.set()
            time.sleep(0.3)

    thread = threading.Thread(target=look)
    thread.start()
    looks.wait()
    with folder.occupied():
        assert folder.state() == "running"
    thread.join()
    with folder.occupied(), pytest.raises(UserError, match="is being worked on by process"), folder.occupied():
        pass


def test_an_attempt_begins_before_weights_are_loaded(tmp_path, monkeypatch):
    """Which may take more memory than there is."""
    words = [*WORDS, f"dataset.root={make_data(tmp_path / 'data')}", f"output_root={tmp_path / 'outputs'}"]
    plan = plan_run(words)

    def loads(_):
        assert plan.folder.was_cut_short(), "if it were killed now"
        raise UserError("no weights")

    monkeypatch.setattr(start, "make_model", loads)
    with pytest.raises(UserError, match="no weights"):
        start.start_run(plan)
    assert not (tmp_path / "outputs").exists()
