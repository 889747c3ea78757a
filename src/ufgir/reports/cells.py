"""From runs to cells: mean and standard deviation over the seeds."""

import pandas as pd

from ufgir.reports.layout import CELL, MISSING

FACTS = ("gmacs", "params_m", "images_per_second", "train_minutes", "vram_gb")  # averaged over the runs of a cell


def cells_of(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each cell.

    Args:
        runs: one row for each run, see `layout.RUN_COLUMNS` and `MORE_COLUMNS`.

    Returns:
        The columns of `CELL`; `n` runs and their `seeds`; `mean` and `std` of the test top-1, percent (`std` with
        n - 1, missing for one run); the means of `FACTS`.
    """
    groups = runs.sort_values([*CELL, "seed"]).groupby(list(CELL), sort=True)
    cells = groups["test_top1"].agg(n="size", mean="mean", std="std")
    cells["seeds"] = groups["seed"].agg(lambda seeds: " ".join(map(str, seeds)))
    cells[list(FACTS)] = groups[list(FACTS)].mean()
    return cells.reset_index()


def accuracy_text(mean: float, std: float, digits: int = 1) -> str:
    """`55.6 ± 1.2`, or the mean alone where there is one run, or the sign of a missing cell."""
    if pd.isna(mean):
        return MISSING
    return f"{mean:.{digits}f}" if pd.isna(std) else f"{mean:.{digits}f} ± {std:.{digits}f}"


def cost_text(gmacs: float) -> str:
    """GMACs in three digits, or the sign of a missing count."""
    return MISSING if pd.isna(gmacs) else f"{gmacs:#.3g}".rstrip(".")


def number_text(value: float, digits: int = 1) -> str:
    """A number, or the sign of a missing one."""
    return MISSING if pd.isna(value) else f"{value:.{digits}f}"
