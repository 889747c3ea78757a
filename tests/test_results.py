"""The page of results is what its numbers say, and the numbers come out of run folders."""

import shutil
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image

from pages import ROOT
from tiny import make_data, train
from ufgir.errors import UserError
from ufgir.report.__main__ import main as report

CSVS = ("runs", "predictions", "steps")


@pytest.fixture
def page(tmp_path, monkeypatch) -> ModuleType:
    """page.py, beside records.py, in a copy of the files that they read and write, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "results", "results", ignore=shutil.ignore_patterns("__pycache__"))
    Path("docs").mkdir()
    for file in ("README.md", "docs/results.md"):
        shutil.copy(ROOT / file, file)
    monkeypatch.syspath_prepend(tmp_path / "results" / "photographs")
    for name in ("page", "records"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return import_module("page")


@pytest.fixture
def records(page) -> ModuleType:
    return sys.modules["records"]


def test_the_pages_follow_from_the_numbers(page):
    page.main([])
    for file in ("README.md", "docs/results.md"):
        assert Path(file).read_text() == (ROOT / file).read_text(), "run `python results/photographs/page.py`"
    assert Path("docs/results.png").stat().st_size > 10_000 and (ROOT / "docs" / "results.png").is_file()


def test_every_leaf_is_tested_once_per_cell_and_seed_and_the_report_agrees(page):
    runs, images = page.read()
    done = page.whole(runs)
    tested = images[images["run"].isin(done["run"])].groupby([*page.CELL, "seed"])["path"]
    assert (tested.size() == 261).all() and (tested.nunique() == 261).all()
    hits = images.groupby("run")["correct"].mean() * 100
    pd.testing.assert_series_equal(hits, runs.set_index("run")["test_top1"].sort_index(), check_names=False, atol=1e-3)
    report(["runs=results/photographs/runs.csv", "out=report"])
    cells = pd.read_csv("report/cells.csv")
    ours = page.cells_of(done, images)
    assert sorted(cells["mean"].round(1)) == pytest.approx(sorted(ours["top1"].round(1)), abs=0.11)


def test_runs_are_collected_and_checked(page, records, capsys):
    make_data(Path("data"))
    for name in CSVS:
        Path(f"results/photographs/{name}.csv").unlink(missing_ok=True)
    words = ("protocol=cv", "folds=2", "trainer.max_epochs=1")
    train(*words, "fold=0", "reducer=none", "keep_rate=1.0")
    results, folder = train(*words, "fold=1")
    records.main(["collect", "outputs"])
    records.main(["collect", "outputs"])
    runs, images = page.read()
    train(*words, "fold=0", "optim.lr=0.1", "output_root=others")
    with pytest.raises(UserError, match="lr="):
        records.main(["collect", "others"])
    with pytest.raises(UserError, match="lr="):
        records.main(["check", "others"])
    assert len(runs) == 2 and len(images) == 24 and images["path"].nunique() == 24
    recorded = runs.set_index("run").loc[folder.name.rpartition("-")[2]]
    assert recorded["weights_sha256"] == results["weights_sha256"] and recorded["epochs"] == 1
    assert records.main(["check", "outputs"]) == 0 and "every digit" in capsys.readouterr().out
    runs.assign(test_loss=runs["test_loss"] * 1.0001).to_csv("results/photographs/runs.csv", index=False)
    assert records.main(["check", "outputs"]) == 1 and "DIFFERENT" in capsys.readouterr().out
    runs.assign(torch="0.1").to_csv("results/photographs/runs.csv", index=False)
    assert records.main(["check", "outputs"]) == 0 and "torch differ" in capsys.readouterr().out
    (folder / "results.json").unlink()
    with pytest.raises(UserError, match="torch differ"):
        records.main(["check", "outputs"])
    runs.to_csv("results/photographs/runs.csv", index=False)
    assert records.main(["check", "outputs"]) == 0
    metrics = pd.read_csv(folder / "metrics.csv")
    metrics.assign(**{"train/step_loss": metrics["train/step_loss"] + 1e-5}).to_csv(folder / "metrics.csv", index=False)
    assert records.main(["check", "outputs"]) == 1
    with pytest.raises(UserError):
        records.main(["chekc", "outputs"])


def test_neighbours_are_those_of_the_training_leaves(records):
    folder, rows = Path("leaves"), []
    for class_id, photograph, leaf in np.ndindex(2, 2, 2):
        name = f"{class_id}/L000{class_id}{'AB'[photograph]}_{leaf}.png"
        pattern = np.random.default_rng(class_id).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        (folder / "images" / str(class_id)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pattern).resize((64, 64)).save(folder / "images" / name)
        rows.append((class_id, name))
    pd.DataFrame(rows, columns=["class_id", "dir"]).to_csv(folder / "train_val.csv", index=False)
    weights = timm.create_model("vit_small_patch14_dinov2.lvd142m").state_dict()
    # Untrained, its blocks change next to nothing.
    torch.save({name: torch.ones_like(w) if "gamma" in name else w for name, w in weights.items()}, "weights.pth")
    records.main(["neighbours", "leaves", "weights.pth"])
    found = pd.read_csv("results/photographs/neighbours.csv", keep_default_na=False)
    assert (found.groupby(["method", "variant"]).size() == 8).all() and len(found) == 48
    assert (found["class"] == found["predicted"]).all()
