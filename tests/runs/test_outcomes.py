"""How runs end: failures with their reason, kept files, several processes."""

import csv
import json
import shutil
import subprocess

import pandas as pd
import pytest

from tiny import WORDS, make_data, results_of, run
from ufgir.reducers import reducer_names

SHORT = (*WORDS, "dataset.root=data", "trainer.max_epochs=2")


@pytest.fixture
def cwd(tmp_path):
    make_data(tmp_path / "data")
    return tmp_path


def only(paths):
    (path,) = paths
    return path


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step(cwd):
    words = (*WORDS, "dataset.root=data", "trainer.max_epochs=3", "optim.lr=1e30", "optim.warmup_epochs=0")
    finished = run("train", *words, cwd=cwd)
    assert finished.returncode == 1
    assert "failed: the loss was not finite at step 2 (epoch 1)" in finished.stderr
    assert "Traceback" not in finished.stderr
    folder = only((cwd / "outputs").iterdir())
    results = json.loads((folder / "results.json").read_text())
    assert results["status"] == "failed" and "step 2" in results["reason"]
    assert not (folder / "last.ckpt").exists(), "nothing that came of it is kept"
    steps = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert [row["step"] for row in steps] == ["1", "2", "3", "4"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keep", "files"), [("none", set()), ("weights", {"model.pt"}), ("all", {"model.pt", "last.ckpt"})]
)
def test_keep_says_what_stays(cwd, keep, files):
    results_of(run("train", *SHORT, f"keep={keep}", cwd=cwd), cwd)
    folder = only((cwd / "outputs").iterdir())
    assert {path.name for path in folder.iterdir()} & {"model.pt", "last.ckpt"} == files
    if keep == "none":
        refused = run("evaluate", f"run={folder}", cwd=cwd)
        assert refused.returncode == 2 and "it was trained with keep=none" in refused.stderr


@pytest.mark.parametrize("preset", ["fdr", "limit", "profiler"])
def test_debug_presets_end_soon(cwd, preset):
    words = [word for word in SHORT if not word.startswith("trainer.max_epochs")]
    results = results_of(run("train", *words, f"debug={preset}", cwd=cwd), cwd)
    assert results["test_images"] == {"fdr": 4, "limit": 8, "profiler": 8}[preset]


@pytest.mark.slow
def test_every_reducer_learns_eight_images_by_heart(cwd):
    """`debug=overfit`, a real learning test: all runs in one process."""
    words = [word for word in WORDS if not word.startswith(("reducer", "keep_rate", "optim"))]
    reducers = ["none", *reducer_names()]
    done = run("train", "--multirun", *words, "dataset.root=data", "debug=overfit", f"reducer={','.join(reducers)}",
               cwd=cwd, timeout=900)  # fmt: skip
    assert done.returncode == 0, done.stderr
    learnt = {}
    for folder in (cwd / "outputs").glob("csv-*"):
        table = pd.read_csv(folder / "metrics.csv")
        learnt[folder.name.split("-")[2]] = table["train/top1"].dropna().iloc[-1]
    assert learnt == dict.fromkeys(reducers, 100.0)


def test_a_head_that_is_overridden_by_name(cwd):
    results = results_of(run("train", *SHORT, "plugins.head.name=linear", cwd=cwd), cwd)
    assert results["config"]["plugins"]["head"] == {"name": "linear"}
    assert only((cwd / "outputs").iterdir()).name.startswith("csv-micro-evit-0.5-clc-32-s1-")


def test_a_run_that_breaks_says_where(cwd):
    results_of(run("train", *SHORT, "keep=all", cwd=cwd), cwd)
    folder = only((cwd / "outputs").iterdir())
    (folder / "results.json").unlink()
    (folder / "last.ckpt").write_text("damaged")
    finished = run("train", *SHORT, "keep=all", cwd=cwd)
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    assert f"Where it happened is in outputs/{folder.name}/traceback.txt" in finished.stderr
    assert "steps_taken" in (folder / "traceback.txt").read_text()
    assert json.loads((folder / "results.json").read_text())["status"] == "failed"


@pytest.mark.slow
def test_two_processes_within_a_multirun(cwd):
    words = (*SHORT, "plugins=clc", "trainer.devices=2", "trainer.accelerator=cpu")
    finished = run("train", "--multirun", *words, "seed=11,12", cwd=cwd)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("results: ") == 2
    assert len(list((cwd / "outputs").glob("csv-*/results.json"))) == 2


@pytest.mark.slow
def test_a_job_that_fails_in_its_first_process_alone_leaves_the_next_job_alone(cwd):
    """The second process of the first job must neither hang nor meet the second job, whose numbers stay its own."""
    words = (*SHORT, "plugins=clc", "trainer.devices=2", "trainer.accelerator=cpu", f"output_root={cwd}/outputs")
    run("train", "--multirun", *words, "seed=11,12", cwd=cwd)
    first, second = sorted((cwd / "outputs").glob("csv-*"), key=lambda folder: "-s12-" in folder.name)
    expected = json.loads((second / "results.json").read_text())["weights_sha256"]
    shutil.rmtree(second)
    shutil.rmtree(first)
    (first / "last.ckpt" / "in_the_way").mkdir(parents=True)  # the first process alone saves checkpoints
    finished = run("train", "--multirun", *words, "seed=11,12", cwd=cwd)
    assert finished.returncode == 1 and "1 runs finished, 1 failed" in finished.stderr
    assert json.loads((first / "results.json").read_text())["status"] == "failed"
    assert json.loads((second / "results.json").read_text())["weights_sha256"] == expected
    left = subprocess.run(["pgrep", "-f", str(cwd)], capture_output=True, text=True).stdout.split()
    assert not left, "no process stays behind"


@pytest.mark.slow
def test_two_processes_train_as_one_does(cwd):
    """Same total batch, same curve; the test is done once, on one device. (BatchNorm in the CLA head would differ.)"""
    alone = results_of(run("train", *SHORT, "plugins=clc", cwd=cwd), cwd)
    together = run("train", *SHORT, "plugins=clc", "trainer.devices=2", "output_root=two", cwd=cwd)
    shared = results_of(together, cwd)
    assert shared["test_images"] == alone["test_images"] == 8
    assert shared["test_loss"] == pytest.approx(alone["test_loss"], abs=1e-4)
    curves = []
    for root in ("outputs", "two"):
        rows = csv.DictReader(only(cwd.glob(f"{root}/*/metrics.csv")).read_text().splitlines())
        curves.append([float(row["train/step_loss"]) for row in rows if row["train/step_loss"]])
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)
    names = [only((cwd / root).iterdir()).name for root in ("outputs", "two")]
    assert names[0] == names[1], "the number of devices is no part of a run's identity"
