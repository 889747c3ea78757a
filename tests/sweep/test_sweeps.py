"""Grids run for real on tiny data: what is skipped, what resumes, what fails, and what each launcher does."""

import csv
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tiny import TINY, command, environment, run
from ufgir.utils import project_dir

DEADLY = """
import os
import signal

from ufgir.reducers import TopK


class Deadly(TopK):
    def __init__(self, stage, deadly=False):
        super().__init__(stage)
        self.deadly = deadly

    def after_attention(self, tokens, attention):
        if self.deadly and self.training:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().after_attention(tokens, attention)
"""

WHERE = """
import os
from pathlib import Path

import lightning as L


class Where(L.Callback):
    def __init__(self, run_dir):
        self.file = Path(run_dir) / "gpu.txt"

    def on_fit_start(self, trainer, pl_module):
        self.file.write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
"""


@pytest.fixture
def grid(here, monkeypatch):
    """A folder with data and a grid of four runs; returns a function that writes another grid."""
    monkeypatch.setenv("PYTHONPATH", f"{here}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")

    def write(union, words=TINY):
        file = here / "mine" / "sweep" / "mine.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        content = {"name": "mine", "words": list(words), "union": union}
        file.write_text("# @package hydra.sweeper\n" + yaml.safe_dump(content))

    write([{"keep_rate": [0.25, 0.5], "seed": [1, 2]}], [word for word in TINY if not word.startswith("keep_rate")])
    return write


MINE = ("--config-dir", "mine", "sweep=mine")


def sweep(*words: str, timeout: float = 110) -> subprocess.CompletedProcess:
    return run("train", "--multirun", *MINE, *words, cwd=Path(), timeout=timeout)


def results() -> dict[str, dict]:
    return {file.parent.name: json.loads(file.read_text()) for file in Path("outputs").glob("*/results.json")}


def numbers() -> dict[str, tuple]:
    return {name: (r["status"], r["test_loss"], r["weights_sha256"]) for name, r in results().items()}


def test_a_grid_runs_once_and_then_only_what_is_new(grid, run_ufgir):
    first = run_ufgir("train", "--multirun", *MINE, "seed=1")
    assert first.code == 0, first.err
    before = numbers()
    assert len(before) == 2
    assert run_ufgir("train", "--multirun", *MINE).code == 0
    assert len(numbers()) == 4 and before.items() <= numbers().items()
    status = json.loads(run_ufgir("sweep", "status", *MINE, "--json").out)
    assert (status["runs"], status["done"], status["missing"]) == (4, 4, 0)
    assert status["by_axis"]["seed"] == {"1": 2, "2": 2} and status["gmacs"] > 0
    assert {path.name for path in Path().iterdir()} == {"data", "mine", "outputs"}, "nothing named by the clock"


def test_a_mistake_in_any_run_starts_none(grid, run_ufgir):
    refused = run_ufgir("train", "--multirun", *MINE, "batch_size=4,99", "dataset.images=nowhere")
    assert refused.code == 2 and "dataset.images=nowhere" in refused.err
    assert not Path("outputs").exists()


@pytest.mark.slow
def test_a_failing_run_stops_no_other_and_is_tried_three_times(grid):
    words = [word for word in TINY if not word.startswith("optim.lr")]
    grid([{"optim.lr": [1e30, 5e-4]}], [*words, "schedule=constant", "plugins=base"])
    for attempt in range(1, 4):
        swept = sweep()
        assert swept.returncode == 1 and "1 runs finished, 1 failed" in swept.stderr
        (failed,) = [r for r in results().values() if r["status"] == "failed"]
        assert failed["attempts"] == attempt
    last = sweep()
    assert last.returncode == 1 and "2 runs, 0 to start" in last.stdout
    assert "optim.lr=1e+30" in run("sweep", "status", *MINE, cwd=Path()).stdout


@pytest.mark.slow
def test_every_launcher_computes_the_same(grid, here):
    """Ray is told of two GPUs, which it hands out without looking for them."""
    (here / "where.py").write_text(WHERE)
    words = ["+callbacks.where._target_=where.Where", '+callbacks.where.run_dir="{run_dir}"', "reducer=tome"]
    swept = sweep(*words)
    assert swept.returncode == 0 and "warning: reducer=tome" in swept.stderr
    expected = numbers()
    Path("outputs").rename("sequential")
    gpus = ["+hydra.launcher.ray.init.num_gpus=2", "hydra.launcher.ray.remote.num_gpus=1"]
    cores = ["+hydra.launcher.ray.init.num_cpus=4"]
    for launcher in (["joblib", "hydra.launcher.n_jobs=2"], ["submitit_local"], ["ray", *gpus, *cores]):
        pytest.importorskip(f"hydra_plugins.hydra_{launcher[0].split('_')[0]}_launcher")
        swept = sweep(*words, f"hydra/launcher={launcher[0]}", *launcher[1:], timeout=600)
        assert swept.returncode == 0, swept.stderr
        assert "UfgirWarning" not in swept.stderr and "ConfigStore" not in swept.stderr
        assert numbers() == expected
        used = {file.read_text() for file in Path("outputs").glob("*/gpu.txt")}
        Path("outputs").rename(launcher[0])
    assert used == {"0", "1"}, "each run of Ray has one GPU, and both are used"


@pytest.mark.slow
def test_killed_at_random_and_repeated_it_ends_as_if_undisturbed(grid):
    """Launcher and workers of joblib, five times; then once to the end."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    assert sweep("trainer.max_epochs=6", timeout=300).returncode == 0
    expected = numbers()
    Path("outputs").rename("sequential")
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "trainer.max_epochs=6"]
    moments, finished = random.Random(0), {}
    for _ in range(5):
        process = subprocess.Popen(
            command("train", "--multirun", *MINE, *words), env=environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        time.sleep(moments.uniform(10, 20))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now = {name: r["weights_sha256"] for name, r in results().items() if r["status"] == "finished"}
        assert finished.items() <= now.items(), "nothing finished is lost or done again"
        finished = now
    assert sweep(*words, timeout=600).returncode == 0
    assert numbers() == expected


@pytest.mark.slow
def test_runs_that_are_always_killed_end_no_grid(grid, here):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    (here / "deadly.py").write_text(DEADLY)
    (here / "mine" / "reducer").mkdir()
    config = "_target_: deadly.Deadly\nname: deadly\nkeep_rate: 0.5\ndeadly: false\n"
    (here / "mine" / "reducer" / "deadly.yaml").write_text(config)
    words = [word for word in TINY if not word.startswith("reducer")]
    grid([{"reducer": "deadly", "reducer.deadly": [True, False], "seed": [1, 2]}], words)
    swept = sweep("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", timeout=400)
    assert swept.returncode == 1, swept.stderr
    assert "2 runs finished, 2 failed" in swept.stderr
    assert swept.stderr.count("was killed 3 times") == 2


@pytest.mark.slow
def test_two_processes_within_a_multirun(here):
    """Each job's further process trains the same job, and its numbers are those of the job alone."""
    words = (*TINY, "plugins=clc", "trainer.devices=2", "trainer.accelerator=cpu")
    alone = [run("train", *words, f"seed={seed}", "output_root=alone", cwd=here) for seed in (11, 12)]
    assert [done.returncode for done in alone] == [0, 0], alone[0].stderr
    many = run("train", "--multirun", *words, "seed=11,12", cwd=here)
    assert many.returncode == 0, many.stderr
    expected = {
        file.parent.name: json.loads(file.read_text())["weights_sha256"]
        for file in Path("alone").glob("*/results.json")
    }
    assert {name: r["weights_sha256"] for name, r in results().items()} == expected


@pytest.mark.slow
def test_optuna_goes_on_after_a_kill_and_stops_what_has_no_chance(here):
    optuna = pytest.importorskip("optuna")
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    words = [word for word in TINY if not word.startswith("optim.lr")]
    words += ["protocol=val", "optim.lr=tag(log,interval(1e-5,1e-2))", "hydra/sweeper=optuna"]
    search = ["--multirun", *words, "hydra.sweeper.storage=sqlite:///search.db", "hydra.sweeper.study_name=search"]
    endless = command("train", *search, "hydra.sweeper.n_trials=50")
    with subprocess.Popen(endless, cwd=here, env=environment(), start_new_session=True) as process:
        while len(results()) < 3 and process.poll() is None:  # two of them are in the study then, the last one perhaps
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
    done = run("train", *search, "hydra.sweeper.n_trials=1", cwd=here, timeout=300)
    assert done.returncode == 0, done.stderr
    pruning = yaml.safe_load((project_dir("conf") / "callbacks" / "optuna_pruning.yaml").read_text())
    pruning["optuna_pruning"]["pruner"] = {"_target_": "optuna.pruners.ThresholdPruner", "lower": 101}
    (here / "mine" / "callbacks").mkdir(parents=True)
    (here / "mine" / "callbacks" / "hopeless.yaml").write_text(yaml.safe_dump(pruning))
    before = set(results())
    search = ["--config-dir", "mine", *search, "callbacks=hopeless"]
    done = run("train", *search, "hydra.sweeper.n_trials=1", cwd=here, timeout=300)
    assert done.returncode == 0, done.stderr
    (stopped,) = set(results()) - before
    rows = list(csv.DictReader((here / "outputs" / stopped / "metrics.csv").read_text().splitlines()))
    assert len([row for row in rows if row["train/top1"]]) == 1, "stopped after the first of two epochs"
    study = optuna.load_study(study_name="search", storage="sqlite:///search.db")
    told = {trial.params["optim.lr"]: trial.value for trial in study.trials if trial.value is not None}
    tried = {r["config"]["optim"]["lr"]: r["val_top1"] for r in results().values()}
    assert len(told) >= 3 and told.items() <= tried.items()
    best = yaml.safe_load(next(here.rglob("optimization_results.yaml")).read_text())
    assert best["best_value"] == max(told.values())
    study.ask()  # a trial without a value, as a killed search may leave behind
    refused = run("train", *words[:-2], "optim.lr=1e-4", "callbacks=optuna_pruning", cwd=here)
    assert refused.returncode == 2 and "hydra.sweeper.storage" in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.slow
def test_finished_runs_can_be_sent_to_another_logger(grid):
    assert sweep("seed=1", "keep_rate=0.5").returncode == 0
    done = run("sweep", "sync", *MINE, "logger=wandb", cwd=Path())
    assert done.returncode == 0, done.stderr
    assert len(list(Path().glob("outputs/csv-*/wandb/offline-run-*"))) == 1
