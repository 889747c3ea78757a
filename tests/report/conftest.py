"""Runs to report, made without training."""

import pandas as pd
import pytest

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
def rows() -> pd.DataFrame:
    """The rows above as a user has them."""
    return pd.DataFrame(ROWS, columns=HEADER).assign(num_classes=5)


@pytest.fixture
def write(tmp_path):
    """Writes a frame to `tmp_path/runs.csv`."""

    def write(frame: pd.DataFrame):
        frame.to_csv(tmp_path / "runs.csv", index=False)
        return tmp_path / "runs.csv"

    return write
