"""A killed run, started again, ends as if nothing had happened: bit for bit on the CPU."""

import csv
import json
import random
import signal
import subprocess
import sys
import time

import pytest

from tiny import TINY, command, environment, make_data

SAME = ("test_top1", "test_top5", "test_loss", "test_images", "weights_sha256", "gmacs", "tokens")
OTHER = {"train/images_per_second"}


def words(*more):
    return (*TINY, "trainer.max_epochs=6", *more)


def numbers(folder):
    """The results and the curve of the only run below a folder, without times."""
    (file,) = folder.glob("outputs/*/metrics.csv")
    rows = [{k: v for k, v in row.items() if k not in OTHER} for row in csv.DictReader(file.read_text().splitlines())]
    results = json.loads((file.parent / "results.json").read_text())
    return {name: results[name] for name in SAME}, rows


@pytest.fixture
def folders(tmp_path):
    """Two working folders with the same data."""
    folders = [tmp_path / "undisturbed", tmp_path / "killed"]
    for folder in folders:
        make_data(folder / "data")
    return folders


@pytest.fixture
def train(run_ufgir, monkeypatch):
    """Trains to the end in a working folder, in this process, and returns what is printed."""

    def train(folder, *more):
        monkeypatch.chdir(folder)
        done = run_ufgir("train", *words(*more))
        assert done.code == 0, done.err
        assert done.out.splitlines()[-1].startswith("results: ")
        return done.out

    return train


def start(cwd, *more):
    return subprocess.Popen(
        command("train", *words(*more)),
        cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # A shell's background job, which the tests may be, ignores Ctrl-C, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def wait_for(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"no line with {text!r}")


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(("augment=strong",), id="strong"),
        pytest.param(("augment=mixup", "callbacks=ema", "protocol=holdout"), id="mixup", marks=pytest.mark.slow),
    ],
)
def test_killed_in_mid_epoch(folders, train, more):
    train(folders[0], *more)
    with start(folders[1], *more) as process:
        wait_for(process, "epoch 3/")
        process.kill()
    assert "epoch 1/" not in train(folders[1], *more), "it continued instead of starting again"
    assert numbers(folders[1]) == numbers(folders[0])


# Lightning logs an epoch after it has saved the checkpoint of it.
KILLED_BEFORE_THE_ROW = """
import os, signal, sys
from ufgir.training.loggers import MetricsCSV
log_metrics = MetricsCSV.log_metrics
def killed(self, metrics, step):
    if "train/top1" in metrics and metrics["epoch"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    log_metrics(self, metrics, step)
MetricsCSV.log_metrics = killed
from ufgir.train import main
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_killed_between_the_checkpoint_and_the_row_of_an_epoch(folders, train):
    train(folders[0])
    killed = [sys.executable, "-c", KILLED_BEFORE_THE_ROW, *words()]
    assert subprocess.run(killed, cwd=folders[1], env=environment()).returncode == -signal.SIGKILL
    assert "epoch 1/" not in train(folders[1]), "it continued instead of starting again"
    assert numbers(folders[1]) == numbers(folders[0])


def test_ctrl_c_and_a_second_process(here, run_ufgir):
    with start(here, "trainer.max_epochs=1000") as process:
        wait_for(process, "epoch 1/")
        second = run_ufgir("train", *words("trainer.max_epochs=1000"))
        assert second.code == 2 and f"process {process.pid} on " in second.err
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in rest
    assert list(here.glob("outputs/*/last.ckpt")) and not list(here.glob("outputs/*/results.json"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_ten_times_at_random(folders, train):
    """Ten kills in a row on one run, wherever they hit: starting up, in an epoch, saving."""
    long = "trainer.max_epochs=120"
    train(folders[0], long)
    rng = random.Random(0)
    for kill in range(10):
        with start(folders[1], long) as process:
            if kill % 4 == 0:
                time.sleep(rng.uniform(1, 4))  # while it starts
            else:
                for _ in range(rng.randint(1, 8)):
                    wait_for(process, "epoch ")
                time.sleep(rng.uniform(0, 0.1))
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL, "it was still at work"
    assert "epoch 1/" not in train(folders[1], long)
    assert numbers(folders[1]) == numbers(folders[0])
