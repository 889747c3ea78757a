"""`python -m ufgir.train` and `python -m ufgir.evaluate` as a user runs them."""

import csv
import json

import pytest
import torch

from tiny import WORDS, make_data, results_of, run
from ufgir.evaluate import evaluate

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


def test_evaluate_reproduces_the_numbers_exactly_from_anywhere(trained, tmp_path):
    cwd, finished = trained
    results = results_of(finished, cwd)
    (folder,) = (cwd / "outputs").iterdir()
    for word in (f"run={folder}", f"checkpoint={folder / 'model.pt'}"):
        evaluated = run("evaluate", word, cwd=tmp_path)
        assert evaluated.returncode == 0, evaluated.stderr
        evaluation = json.loads((folder / "evaluation.json").read_text())
        for name in ("test_top1", "test_top5", "test_loss", "test_images", "weights_sha256"):
            assert evaluation[name] == results[name]


def test_evaluate_on_other_tables(trained, tmp_path, capsys):
    cwd, _ = trained
    (folder,) = (cwd / "outputs").iterdir()
    out = tmp_path / "evaluation.json"
    make_data(other := tmp_path / "other")
    (other / "classid_classname.csv").write_text("class_id,class_name\n0,a\n1,b\n2,c\n3,d\n")
    for words, images, source in (
        (["protocol=val"], 4, "csv"),
        (["dataset=folder", f"dataset.root={other / 'images'}"], 8, "folder"),
        (["dataset=csv", f"dataset.root={other}"], 8, "csv"),
    ):
        assert evaluate([f"run={folder}", f"out={out}", *words]) == 0
        evaluation = json.loads(out.read_text())
        assert (evaluation["test_images"], evaluation["dataset"]) == (images, source)
    assert "class 0 is named a in csv and kind_0 in the weights: compared by number" in capsys.readouterr().out


def test_the_weights_carry_config_and_class_names(trained):
    cwd, finished = trained
    (file,) = cwd.glob("outputs/*/model.pt")
    content = torch.load(file, weights_only=True)
    assert content["class_names"] == ["kind_0", "kind_1", "kind_2", "kind_3"]
    assert content["config"] == results_of(finished, cwd)["config"]


def test_multirun_runs_each_job_in_its_own_folder(trained):
    cwd, _ = trained
    words = (*WORDS, "dataset.root=data", "trainer.max_epochs=1", "output_root=many")
    finished = run("train", "--multirun", *words, "plugins=base,cla", "seed=1,10", cwd=cwd)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("results: ") == 4
    names = sorted(path.name.rsplit("-", 1)[0] for path in (cwd / "many").glob("csv-*"))
    assert names == [f"csv-micro-evit-0.5-{plugins}-32-s{seed}" for plugins in ("base", "cla") for seed in (1, 10)]
    assert {path.name for path in cwd.iterdir()} == {"data", "outputs", "many"}, "nothing named by the clock"


def test_a_multirun_with_a_faulty_job_starts_none(trained):
    cwd, _ = trained
    words = (*WORDS, "dataset.root=data", "output_root=refused", "seed=1,10")
    finished = run("train", "--multirun", *words, "optim.batch_size=4,99", "plugins=base,clo", cwd=cwd)
    assert finished.returncode == 2
    assert finished.stderr.count("optim.batch_size=99: the training set has 16 images") == 1
    assert "Did you mean plugins=" in finished.stderr
    assert not (cwd / "refused").exists()


def test_hydras_own_flags_still_work(trained):
    cwd, _ = trained
    shown = run("train", "--cfg", "job", "reducer=topk", cwd=cwd)
    assert shown.returncode == 0, shown.stderr
    assert "name: topk" in shown.stdout
