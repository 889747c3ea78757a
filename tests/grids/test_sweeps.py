"""Grids run for real on tiny data: what is skipped, what resumes, what fails, and what each engine does."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tiny import WORDS, command, environment, make_data, run

GRID = {
    "name": "mine",
    "words": ["dataset.root=data", "trainer.max_epochs=2", *[word for word in WORDS if word != "keep_rate=0.5"]],
    "union": [{"keep_rate": [0.25, 0.5], "seed": [1, 2]}],
}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with data and a grid of four runs."""
    make_data(tmp_path / "data")
    write_grid(tmp_path, GRID)
    monkeypatch.setenv("UFGIR_PATH", str(tmp_path / "mine"))
    return tmp_path


def write_grid(here: Path, grid: dict) -> None:
    file = here / "mine" / "sweeps" / "sweep" / "mine.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("# @package hydra.sweeper\n" + yaml.safe_dump(grid))


def sweep(here: Path, *words: str, timeout: float = 110) -> subprocess.CompletedProcess:
    return run("train", "--multirun", "sweep=mine", *words, cwd=here, timeout=timeout)


def facts(here: Path, *words: str) -> dict:
    planned = run("sweep", "plan", "sweep=mine", "--json", *words, cwd=here)
    assert planned.returncode == 0, planned.stderr
    return json.loads(planned.stdout)


def numbers(here: Path) -> dict[str, tuple]:
    """What each finished run came to."""
    results = {file.parent.name: json.loads(file.read_text()) for file in (here / "outputs").glob("*/results.json")}
    return {name: (found["status"], found["test_loss"], found["weights_sha256"]) for name, found in results.items()}


@pytest.mark.slow
def test_a_grid_runs_once_and_then_only_what_is_new(here):
    planned = facts(here)
    assert (planned["runs"], planned["missing"], planned["done"]) == (4, 4, 0)
    assert planned["by_axis"] == {"keep_rate": {"0.25": 2, "0.5": 2}, "seed": {"1": 2, "2": 2}, **constant()}
    assert planned["gmacs"] > 0 and planned["disk_gb"]["all"] > planned["disk_gb"]["weights"] > 0
    first = sweep(here, "seed=1")
    assert first.returncode == 0, first.stderr
    assert "2 runs finished, 0 failed" in first.stderr
    before = numbers(here)
    assert len(before) == 2
    again = sweep(here)
    assert again.returncode == 0, again.stderr
    assert "4 runs, 2 to start" in again.stdout
    assert len(numbers(here)) == 4 and before.items() <= numbers(here).items()
    done = facts(here)
    assert (done["done"], done["missing"]) == (4, 0) and "4 finished runs" in done["gpu_hours_from"]
    status = run("sweep", "status", "sweep=mine", cwd=here)
    assert "4 of 4 runs" in status.stdout


def constant() -> dict:
    """Axes of the paper in which these runs do not differ."""
    return {axis: {value: 4} for axis, value in
            {"dataset": "csv", "backbone": "micro", "reducer": "evit", "image_size": "32"}.items()}  # fmt: skip


@pytest.mark.slow
def test_a_failing_run_does_not_stop_the_others_and_is_tried_again_not_for_ever(here):
    grid = {**GRID, "union": [{"optim.lr": [1e30, 5e-4], "seed": [1]}], "words": [*GRID["words"], "plugins=base"]}
    grid["words"] = [word for word in grid["words"] if not word.startswith("optim.lr")]
    write_grid(here, grid)
    for attempt in range(1, 4):
        swept = sweep(here)
        assert swept.returncode == 1
        assert "1 runs finished, 1 failed" in swept.stderr
        told = swept.stderr.count("metrics.csv has the gradients until then")
        assert told == 2, "when it happens, and in the closing table"
        (failed,) = [found for found in results(here) if found["status"] == "failed"]
        assert failed["attempts"] == attempt
    last = sweep(here)
    assert last.returncode == 1 and "2 runs, 0 to start" in last.stdout and "given up" in last.stdout
    status = run("sweep", "status", "sweep=mine", cwd=here)
    assert "failed (3 of 3 attempts)" in status.stdout and "optim.lr=1e+30" in status.stdout


def results(here: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in (here / "outputs").glob("*/results.json")]


def test_a_mistake_in_any_run_starts_none(here):
    refused = sweep(here, "dataset.images=nowhere")
    assert refused.returncode == 2 and "dataset.images=nowhere" in refused.stderr
    assert not (here / "outputs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("engine", [["joblib", "hydra.launcher.n_jobs=2"], ["submitit_local"], ["ray"]], ids=str)
def test_every_engine_computes_the_same(here, engine):
    pytest.importorskip(f"hydra_plugins.hydra_{engine[0].split('_')[0]}_launcher")
    sequential = sweep(here)
    assert sequential.returncode == 0, sequential.stderr
    expected = numbers(here)
    (here / "outputs").rename(here / "sequential")
    swept = sweep(here, f"hydra/launcher={engine[0]}", *engine[1:], timeout=600)
    assert swept.returncode == 0, swept.stderr
    assert numbers(here) == expected


@pytest.mark.slow
def test_killed_at_random_and_repeated_it_ends_like_undisturbed(here):
    """Launcher and workers of joblib, five times; then once to the end."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    write_grid(here, {**GRID, "words": [*GRID["words"], "keep=all"]})
    assert sweep(here, "trainer.max_epochs=6").returncode == 0
    expected = numbers(here)
    (here / "outputs").rename(here / "sequential")
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "trainer.max_epochs=6"]
    moments, finished = random.Random(0), {}
    for _ in range(5):
        process = subprocess.Popen(
            command("train", "--multirun", "sweep=mine", *words), cwd=here, env=environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        time.sleep(moments.uniform(6, 14))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now = {name: found for name, found in numbers(here).items() if found[0] == "finished"}
        assert finished.items() <= now.items(), "nothing finished is lost or done again"
        finished = now
    assert sweep(here, *words, timeout=600).returncode == 0
    assert numbers(here) == expected


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_written_result(here):
    """Files may not grow beyond 200 kB: the checkpoints of these runs cannot be written."""
    limited = ["bash", "-c", 'ulimit -f 200; exec "$@"', "bash", *command("train", "--multirun", "sweep=mine")]
    swept = subprocess.run(limited, cwd=here, env=environment(), capture_output=True, text=True, timeout=300)
    assert swept.returncode == 1, swept.stderr
    assert all(found["status"] == "failed" for found in results(here))
    assert not list((here / "outputs").rglob("model.pt"))
    again = sweep(here)
    assert again.returncode == 0, again.stderr
    assert [found["status"] for found in results(here)] == ["finished"] * 4


def test_slurm_would_be_sent_this(here, monkeypatch):
    """The submission is written by submitit itself, with a stand-in for sbatch; no cluster was at hand."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    bin_dir = here / "bin"
    bin_dir.mkdir()
    (bin_dir / "sbatch").write_text('#!/bin/bash\ncp "${@: -1}" sent.sh\necho refused here >&2\nexit 1\n')
    (bin_dir / "srun").write_text("#!/bin/bash\n")
    for stand_in in bin_dir.iterdir():
        stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}{os.pathsep}{os.environ['PATH']}")
    swept = sweep(here, "hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu")
    assert swept.returncode == 1
    sent = (here / "sent.sh").read_text()
    options = sorted(line for line in sent.splitlines() if line.startswith("#SBATCH") and "/" not in line)
    stored = Path(__file__).with_name("sbatch.txt").read_text().splitlines()
    assert options == stored
