"""Runs to report: a CSV written by hand, and folders made from one real tiny training."""

import json
import shutil
from copy import deepcopy
from pathlib import Path

import pandas as pd
import pytest

import tiny
from ufgir.cli import run_command
from ufgir.reports.collected import tidy
from ufgir.train import train

HEADER = ["dataset", "backbone", "reducer", "keep_rate", "image_size", "plugins", "seed", "test_top1"]
# Two seeds of base and clca at 0.1 on two sets; on `two` the cell of clca at 0.5 is missing.
ROWS = [
    ["one", "micro", "evit", 0.1, 32, "base", 1, 10.0],
    ["one", "micro", "evit", 0.1, 32, "base", 10, 14.0],
    ["one", "micro", "evit", 0.1, 32, "clca", 1, 20.0],
    ["one", "micro", "evit", 0.1, 32, "clca", 10, 30.0],
    ["one", "micro", "evit", 0.5, 32, "base", 1, 40.0],
    ["one", "micro", "evit", 0.5, 32, "clca", 1, 37.0],
    ["two", "micro", "evit", 0.1, 32, "base", 1, 50.0],
    ["two", "micro", "evit", 0.1, 32, "clca", 1, 50.0],
    ["two", "micro", "evit", 0.5, 32, "base", 1, 60.0],
]


@pytest.fixture
def runs() -> pd.DataFrame:
    """The rows above as the report reads them."""
    return tidy(pd.DataFrame(ROWS, columns=HEADER).assign(keep_rate=lambda frame: frame["keep_rate"].astype(str)))


@pytest.fixture(scope="session")
def rows() -> pd.DataFrame:
    """The rows above as a user has them."""
    return pd.DataFrame(ROWS, columns=HEADER).assign(num_classes=5)


@pytest.fixture
def csv_file(rows, tmp_path) -> Path:
    """The rows above as a file."""
    file = tmp_path / "runs.csv"
    rows.to_csv(file, index=False)
    return file


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The folder of a finished run: clca, seed 1, one epoch of four steps."""
    folder = tmp_path_factory.mktemp("report")
    data = tiny.make_data(folder / "data")
    words = (*tiny.WORDS, f"dataset.root={data}", "trainer.max_epochs=1", "keep=none", f"output_root={folder}/outputs")
    assert run_command(train, words) == 0
    (path,) = (folder / "outputs").glob("csv-*")
    return path


@pytest.fixture
def copy_run(trained, tmp_path):
    """Copies the finished run to `tmp_path/outputs/<name>` with other results: dotted name -> value."""

    def copy(name: str, changes: dict[str, object]) -> Path:
        folder = tmp_path / "outputs" / name
        shutil.copytree(trained, folder)
        results = deepcopy(json.loads((folder / "results.json").read_text()))
        for key, value in changes.items():
            *parents, last = key.split(".")
            node = results
            for parent in parents:
                node = node[parent]
            node[last] = value
        (folder / "results.json").write_text(json.dumps(results))
        return folder

    return copy
