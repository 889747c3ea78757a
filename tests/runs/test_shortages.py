"""Memory, disk or permission that lacks while runs train and are used: told in a line, and nothing is lost."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch

from tiny import GPU_IS_FULL, WORDS, command, environment, files_up_to, make_data, make_run
from ufgir.cli import run_command
from ufgir.config import compose_run, resolve
from ufgir.evaluate import evaluate
from ufgir.grids.launch import refuse_faulty
from ufgir.grids.survey import survey
from ufgir.models import ReducedViT
from ufgir.predict import predict
from ufgir.runs import lighter
from ufgir.train import train
from ufgir.training.module import ClassifierModule
from ufgir.visualize import visualize

SHORT = (*WORDS, "dataset.root=data", "trainer.max_epochs=2")
LACKS = "the GPU has too little memory: 2.00 GiB more were asked for and 512.00 MiB of its 23.69 GiB are free"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp("shortages") / "data")


@pytest.fixture
def here(data, tmp_path, monkeypatch) -> Path:
    """An empty working folder with a data set."""
    monkeypatch.setenv("UFGIR_CACHE", str(data.parent / ".cache"))
    monkeypatch.chdir(tmp_path)
    Path("data").symlink_to(data)
    return tmp_path


@pytest.fixture
def gpu_is_full(monkeypatch):
    """Makes a method of a class raise what torch raises; with `epoch`, only from that epoch on."""

    def fill(kind: type, method: str, epoch: int = 0) -> None:
        work = getattr(kind, method)

        def full(self, *arguments, **named):
            if epoch <= getattr(self, "current_epoch", 0):
                raise torch.OutOfMemoryError(GPU_IS_FULL.format(asked="2.00 GiB", free="512.00 MiB"))
            return work(self, *arguments, **named)

        monkeypatch.setattr(kind, method, full)

    return fill


def only(paths):
    (path,) = paths
    return path


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_a_gpu_that_is_full_in_training_loses_no_epoch(here, gpu_is_full, monkeypatch, capsys):
    gpu_is_full(ClassifierModule, "training_step", epoch=1)
    assert run_command(train, SHORT) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"failed: {LACKS}, so it is 1.50 GiB short. Each of these needs less: ")
    folder = only(Path("outputs").iterdir())
    assert results(folder)["status"] == "failed" and f"failed: {results(folder)['reason']}\n" == told
    assert not (folder / "traceback.txt").exists() and not (folder / "model.pt").exists()
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert run_command(train, (*SHORT, "trainer.gradient_checkpointing=true")) == 0
    said = capsys.readouterr().out
    assert "epoch 2/2" in said and "epoch 1/2" not in said, "the words that the message gives keep the run"
    assert results(folder)["status"] == "finished"


def test_the_words_to_lower(monkeypatch):
    def advice(*words: str) -> str:
        composed, faults = compose_run([*WORDS, "dataset.root=data", *words])
        assert not faults
        return lighter.lighter_training(resolve(composed))

    told = advice("optim.batch_size=32", "image_size=64", "keep_rate=[0.7,0.5,0.3]")
    assert "optim.batch_size=16 trainer.accumulate_grad_batches=2 (still 32 images to a step); " in told
    assert "trainer.gradient_checkpointing=true (" in told and "precision" not in told
    assert "a smaller image_size than 64; a lower keep_rate than 0.3" in told and "num_workers" not in told
    monkeypatch.setattr(lighter, "uses_cuda", lambda _: True)
    told = advice("optim.batch_size=9", "trainer.accumulate_grad_batches=2", "reducer=none", "keep_rate=null")
    assert "optim.batch_size=3 trainer.accumulate_grad_batches=6 (still 18 images to a step); " in told
    assert "trainer.precision=16-mixed; " in told and "a reducer, such as reducer=evit keep_rate=0.5" in told
    told = advice("optim.batch_size=2", "trainer.gradient_checkpointing=true", "dataset.cache=ram")
    assert "batch_size" not in told and "checkpointing" not in told, "one image is too few for CLA's BatchNorm"
    assert told.endswith("dataset.cache=disk.")


def test_a_gpu_that_is_full_when_a_model_is_used(here, gpu_is_full, monkeypatch, capsys):
    run = make_run(here / "run", here / "data").path
    before = sorted(path.name for path in run.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(ReducedViT, "forward_features", lambda *_, **__: torch.empty(2**50))
        assert run_command(visualize, [f"run={run}", f"images={here}/data/images", "out=figures"]) == 1
    assert "failed: this machine has too little memory: 4.00 PiB more were asked for" in capsys.readouterr().err
    gpu_is_full(ReducedViT, "forward")
    for used, words in ((evaluate, ["batch_size=6"]), (predict, [f"images={here}/data/images", "batch_size=6"])):
        assert run_command(used, [f"run={run}", *words]) == 1
        told = capsys.readouterr().err
        assert f"failed: {LACKS}" in told and "Give a smaller batch, such as batch_size=3" in told
    assert sorted(path.name for path in run.iterdir()) == before
    assert sorted(path.name for path in here.iterdir()) == ["data", "run"]


def test_a_batch_size_changes_no_answer(here):
    run = make_run(here / "run", here / "data").path
    for size in (1, 8):
        assert evaluate([f"run={run}", f"batch_size={size}", f"out={size}.json"]) == 0
    tables = [pd.read_csv(f"{size}/predictions.csv") for size in (1, 8)]
    pd.testing.assert_frame_equal(*tables, atol=1e-5, rtol=0)


def test_a_disk_that_is_full_while_training(here, capsys):
    with files_up_to(300_000):
        assert run_command(train, SHORT) == 1
    folder, told = only(Path("outputs").iterdir()), capsys.readouterr().err
    assert told.startswith("failed: ")
    assert f"outputs/{folder.name}/last.ckpt cannot be written: File too large (" in told
    assert "MiB needed). Make room there; the same command goes on from the last whole epoch." in told
    assert results(folder)["status"] == "failed" and results(folder)["attempts"] == 0
    assert not [path for path in folder.rglob("*") if "ckpt" in path.name or "model.pt" in path.name]
    with files_up_to(10):  # not even results.json can be replaced
        assert run_command(train, SHORT) == 1
    assert "cannot be written: File too large" in capsys.readouterr().err or results(folder)["status"] == "failed"
    assert run_command(train, SHORT) == 0
    assert results(folder)["status"] == "finished"
    table = pd.read_csv(folder / "metrics.csv")
    assert table["step"].dropna().is_monotonic_increasing and table["epoch"].dropna().nunique() == 2


SMALL_DISK = """
mount -t tmpfs -o size=$1 small outputs || exit 77
shift
"$@"; echo "exit code $?"
ls -A outputs/*
mount -o remount,size=200m outputs
"$@"; echo "exit code $?"
cp outputs/*/results.json .
"""


@pytest.mark.slow
def test_a_small_disk_that_has_room_again(here):
    """A disk of 10 MB holds the first checkpoint, of 7 MB, but not the second beside it."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, to mount a disk that only this test sees")
    (here / "outputs").mkdir()
    inside = ["unshare", "--map-root-user", "--mount", "bash", "-c", SMALL_DISK, "bash", "10m"]
    started = [*inside, *command("train", *SHORT)]
    done = subprocess.run(started, env=environment(), capture_output=True, text=True, timeout=100)
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip("may not mount a disk here")
    first, second = done.stdout.split("exit code 1\n")
    assert "No space left on device (" in done.stderr and " free). Make room there; " in done.stderr
    assert "epoch 1/2" in first and "epoch 2/2" in second and "epoch 1/2" not in second
    assert "last.ckpt" in second.splitlines() and not [line for line in second.splitlines() if ".last.ckpt" in line]
    assert second.endswith("exit code 0\n") and results(here)["status"] == "finished"


def test_places_that_a_run_cannot_be_written_to(here, monkeypatch, capsys):
    Path("taken").write_text("")
    assert run_command(train, [*SHORT, "output_root=taken/runs", "keep_rate=2"]) == 2
    told = capsys.readouterr().err
    assert "2 faults; nothing was started." in told and "keep_rate=2" in told
    assert "output_root=taken/runs: taken is a file, not a folder; give another place." in told
    if Path("/sys").is_dir():  # where not even the superuser may make a folder
        assert run_command(train, [*SHORT, "output_root=/sys/runs"]) == 2
        assert capsys.readouterr().err.startswith("output_root=/sys/runs cannot be written (")
    with pytest.raises(Exception, match="^output_root=taken: taken is a file"):
        refuse_faulty(survey(((*SHORT, "output_root=taken"), (*SHORT, "output_root=taken", "seed=2"))))
    assert run_command(train, ["dataset=leaves", "backbone=micro", "dataset.root=taken/leaves"]) == 2
    assert capsys.readouterr().err.endswith("dataset.root=taken/leaves cannot be written: Not a directory.\n")
    monkeypatch.setenv("UFGIR_CACHE", str(here / "taken"))
    assert run_command(train, [*SHORT, "dataset.cache=disk"]) == 2
    assert "dataset.cache=disk cannot write to" in capsys.readouterr().err
    assert sorted(os.listdir()) == ["data", "taken"], "mistakes leave nothing"


def test_without_a_cache_folder_a_run_trains_all_the_same(here, monkeypatch):
    Path("taken").write_text("")
    monkeypatch.setenv("UFGIR_CACHE", str(here / "taken"))
    assert run_command(train, [*SHORT, "trainer.max_epochs=1"]) == 0


def test_a_file_that_the_system_refuses_is_told_without_a_traceback(here, monkeypatch, capsys):
    def refused(*_):
        raise PermissionError(13, "Permission denied", "outputs/x/config.yaml")

    monkeypatch.setattr("ufgir.runs.start.save_config", refused)
    assert run_command(train, SHORT) == 1
    assert capsys.readouterr().err == "failed: outputs/x/config.yaml: Permission denied.\n"
