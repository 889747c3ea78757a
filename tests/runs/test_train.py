"""`python -m ufgir.train` and `python -m ufgir.evaluate` as a user runs them."""

import csv
import json

import pytest
import torch
from tiny import WORDS, make_data, results_of, run

FIELDS = {
    "status", "test_top1", "test_top5", "test_loss", "test_images", "num_classes", "gmacs", "params_m", "tokens",
    "train_minutes", "images_per_second", "peak_memory_gb", "weights_sha256", "seed", "versions", "config",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a data set and one finished run of two epochs, and what the run printed."""
    cwd = tmp_path_factory.mktemp("trained")
    make_data(cwd / "data")
    finished = run("train", *WORDS, "dataset.root=data", "trainer.max_epochs=2", cwd=cwd)
    return cwd, finished


def test_the_run_folder_has_what_a_person_needs(trained):
    cwd, finished = trained
    results = results_of(finished, cwd)
    assert set(results) == FIELDS
    assert results["status"] == "finished"
    assert (results["test_images"], results["num_classes"], results["seed"]) == (8, 4, 1)
    assert results["tokens"] == [18] * 3 + [11, 17, 17, 10, 16, 16, 10, 16, 18]
    (folder,) = (cwd / "outputs").iterdir()
    assert folder.name.startswith("csv-micro-evit-0.5-clca-32-s1-")
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {
        "config.yaml", "metrics.csv", "model.pt", "results.json", "splits"
    }  # fmt: skip
    assert {path.name for path in cwd.iterdir()} == {"data", "outputs"}


def test_every_step_is_in_metrics_csv(trained):
    cwd, _ = trained
    (file,) = cwd.glob("outputs/*/metrics.csv")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    steps = [row for row in rows if row["train/grad_max"]]
    assert [int(row["step"]) for row in steps] == list(range(1, 9))
    assert all(float(row["train/grad_max"]) > float(row["train/grad_mean"]) > 0 for row in steps)
    assert [float(row["lr"]) for row in steps] == pytest.approx([1e-6] * 4 + [2.55e-4] * 4)
    assert len([row for row in rows if row["train/top1"]]) == 2
    assert [row for row in rows if row["test_top1"]][0]["step"] == "8"


def test_the_tokens_left_are_printed(trained):
    assert "11 after block 3, 10 after block 6, 10 after block 9, 18 at the end" in " ".join(trained[1].stdout.split())


def test_the_same_command_again_says_it_is_finished(trained):
    cwd, finished = trained
    (file,) = cwd.glob("outputs/*/results.json")
    before = file.stat().st_mtime_ns
    again = run("train", *WORDS, "dataset.root=data", "trainer.max_epochs=2", cwd=cwd)
    assert results_of(again, cwd) == results_of(finished, cwd)
    assert "was finished before" in again.stdout
    assert file.stat().st_mtime_ns == before


def test_evaluate_reproduces_the_numbers_exactly(trained):
    cwd, finished = trained
    results = results_of(finished, cwd)
    (folder,) = (cwd / "outputs").iterdir()
    for word in (f"run={folder}", f"checkpoint={folder / 'model.pt'}"):
        evaluated = run("evaluate", word, cwd=cwd)
        assert evaluated.returncode == 0, evaluated.stderr
        evaluation = json.loads((folder / "evaluation.json").read_text())
        for name in ("test_top1", "test_top5", "test_loss", "test_images", "weights_sha256"):
            assert evaluation[name] == results[name]


def test_the_weights_carry_config_and_class_names(trained):
    cwd, finished = trained
    (file,) = cwd.glob("outputs/*/model.pt")
    content = torch.load(file, weights_only=True)
    assert content["class_names"] == ["kind_0", "kind_1", "kind_2", "kind_3"]
    assert content["config"] == results_of(finished, cwd)["config"]


def test_multirun_runs_each_job_in_its_own_folder(trained):
    cwd, _ = trained
    words = (*WORDS, "dataset.root=data", "trainer.max_epochs=1", "output_root=many")
    finished = run("train", "--multirun", *words, "plugins=base,cla", "optim.batch_size=4,99", cwd=cwd)
    assert finished.returncode == 1, "two of the four jobs are refused"
    assert finished.stderr.count("optim.batch_size=99: the training set has 16 images") == 2
    names = sorted(path.name.rsplit("-", 1)[0] for path in (cwd / "many").glob("csv-*"))
    assert names == ["csv-micro-evit-0.5-base-32-s1", "csv-micro-evit-0.5-cla-32-s1"]
    assert {path.name for path in cwd.iterdir()} == {"data", "outputs", "many"}, "nothing named by the clock"
