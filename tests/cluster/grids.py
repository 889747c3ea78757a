"""A grid of four tiny runs, started, watched and compared."""

import json
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tiny import TINY, command, environment, run

MINE = ("--config-dir", "mine", "sweep=mine")
PAUSE = """
import os
import time

from lightning.pytorch import Callback


class Pause(Callback):
    def on_train_epoch_end(self, trainer, module):
        time.sleep(float(os.environ["UFGIR_TEST_PAUSE"]))
"""


def write_grid(folder: Path) -> None:
    """A grid and a callback of a user: epochs that last for a second, on a machine of any speed."""
    for group in ("sweep", "callbacks"):
        (folder / "mine" / group).mkdir(parents=True)
    (folder / "mine/pause.py").write_text(PAUSE)
    (folder / "mine/callbacks/pause.yaml").write_text("pause: {_target_: pause.Pause}\n")
    words = [word for word in TINY if not word.startswith(("keep_rate", "trainer.max"))]
    words += ["trainer.max_epochs=10", "callbacks=pause"]
    content = {"name": "mine", "words": words, "union": [{"keep_rate": [0.25, 0.5], "seed": [1, 2]}]}
    (folder / "mine/sweep/mine.yaml").write_text("# @package hydra.sweeper\n" + yaml.safe_dump(content))


def start(*words: str) -> subprocess.Popen:
    return subprocess.Popen(
        command("train", "--multirun", *MINE, *words), env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def sweep(*words: str, cwd: Path = Path()) -> subprocess.CompletedProcess:
    return run("train", "--multirun", *MINE, *words, cwd=cwd, timeout=600)


def status(*words: str) -> dict:
    shown = run("sweep", "status", *MINE, *words, "--json", cwd=Path())
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def results(root: Path = Path("outputs")) -> dict[str, dict]:
    """What two runs of the same name must share."""
    found = {file.parent.name: json.loads(file.read_text()) for file in root.glob("*/results.json")}
    return {
        name: {key: r.get(key) for key in ("status", "test_loss", "weights_sha256")}
        | {"rows": (root / name / "metrics.csv").read_text().count("\n")}
        for name, r in found.items()
    }


def wait_until(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def processes() -> dict[str, int]:
    """Process of each run that is at work, from the record of its attempt."""
    records = {file.parent.name: json.loads(file.read_text()) for file in Path("outputs").glob("*/.attempt")}
    return {name: int(record["owner"].split()[1]) for name, record in records.items()}


def search(*words: str) -> None:
    """Two trials of Optuna at a time on an engine, both told of to the study."""
    optuna = pytest.importorskip("optuna")
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    tiny = [word for word in TINY if not word.startswith("optim.lr")]
    tiny += ["protocol=val", "optim.lr=tag(log,interval(1e-5,1e-2))", "callbacks=optuna_pruning"]
    study = ["hydra.sweeper.storage=sqlite:///search.db", "hydra.sweeper.study_name=search"]
    trials = ["hydra/sweeper=optuna", "hydra.sweeper.n_jobs=2", "hydra.sweeper.n_trials=2"]
    done = run("train", "--multirun", *tiny, *trials, *study, *words, cwd=Path(), timeout=600)
    assert done.returncode == 0, done.stderr
    told = optuna.load_study(study_name="search", storage="sqlite:///search.db").trials
    ended = [json.loads(file.read_text()) for file in Path("outputs").glob("*/results.json")]
    assert {t.params["optim.lr"]: t.value for t in told} == {r["config"]["optim"]["lr"]: r["val_top1"] for r in ended}
    assert len(ended) == 2
