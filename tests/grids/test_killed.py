"""Runs whose processes are killed, for real: with joblib, which ends its other processes, too."""

import json
from pathlib import Path

import pytest
import yaml

from tiny import WORDS, make_data, run

CODE = """
import os
import signal

from ufgir.reducers.topk import TopK


class Deadly(TopK):
    def __init__(self, stage, deadly=False):
        super().__init__(stage)
        self.deadly = deadly

    def after_attention(self, tokens, attention):
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().after_attention(tokens, attention)
"""
GRID = {
    "name": "mine",
    "words": ["dataset.root=data", "trainer.max_epochs=1", *[word for word in WORDS if not word.startswith("reducer")]],
    "union": [{"reducer": "deadly", "reducer.deadly": [True, False], "seed": [1, 2]}],
}
FILES = {
    "reducers/deadly.py": CODE,
    "conf/reducer/deadly.yaml": "name: deadly\nkeep_rate: 0.5\ndeadly: false\n",
    "sweeps/sweep/mine.yaml": "# @package hydra.sweeper\n" + yaml.safe_dump(GRID),
}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with data and a grid of four runs, the first two of which are always killed."""
    make_data(tmp_path / "data")
    for name, text in FILES.items():
        file = tmp_path / "mine" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    monkeypatch.setenv("UFGIR_PATH", str(tmp_path / "mine"))
    return tmp_path


@pytest.mark.slow
def test_runs_that_are_always_killed_end_no_grid(here):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    swept = run("train", "--multirun", "sweep=mine", *words, cwd=here, timeout=300)
    assert swept.returncode == 1, swept.stderr
    closing = swept.stderr.rpartition("2 runs finished, 2 failed")[2]
    assert closing.count("its process was killed before a whole epoch") == closing.count("reducer.deadly=true") == 2
    results = [json.loads(file.read_text()) for file in (here / "outputs").glob("*/results.json")]
    assert sorted(found["status"] for found in results) == ["failed", "failed", "finished", "finished"]
    assert [found["attempts"] for found in results if found["status"] == "failed"] == [1, 1]
    status = run("sweep", "status", "sweep=mine", cwd=here)
    assert status.stdout.count("failed (1 of 3 attempts)") == 2 and "its process was killed" in status.stdout
