"""Paired differences between two plug-in settings, with a bootstrap interval."""

import numpy as np
import pandas as pd

from ufgir.reports.layout import CELL

RESAMPLES = 10_000
LEVEL = 95  # percent of the bootstrap distribution within the interval


def pairs_of(runs: pd.DataFrame, better: str = "clca", worse: str = "base") -> tuple[pd.DataFrame, int]:
    """Runs of the same cell and seed but for the plug-ins.

    Returns:
        columns of `CELL` without `plugins`, `seed`, the accuracies `better` and `worse` in percent and their
        `difference`; and the number of runs of either setting that have no partner.
    """
    keys = [name for name in CELL if name != "plugins"] + ["seed"]
    wide = runs[runs["plugins"].isin([better, worse])].pivot(index=keys, columns="plugins", values="test_top1")
    wide = wide.reindex(columns=[better, worse]).set_axis(["better", "worse"], axis=1)
    pairs = wide.dropna().reset_index()
    pairs["difference"] = pairs["better"] - pairs["worse"]
    return pairs, len(wide) - len(pairs)


def summary(pairs: pd.DataFrame) -> dict[str, float]:
    """Mean difference, its interval and who won how often.

    The unit is a cell, its seeds averaged, because the seeds of a cell say little about other cells; within a single
    cell it is the seed.

    Returns:
        `units`, `of` (cells or seeds), `mean`, `low`, `high` (percentage points; no interval for one unit), `wins`,
        `ties`, `losses`.
    """
    keys = [name for name in CELL if name != "plugins"]
    units = pairs.groupby(keys)["difference"].mean()
    of = "cells" if len(units) > 1 else "seeds"
    values = (units if len(units) > 1 else pairs["difference"]).to_numpy()
    low, high = bootstrap_interval(values)
    return {
        "units": len(values), "of": of, "mean": values.mean(), "low": low, "high": high,
        "wins": int((values > 0).sum()), "ties": int((values == 0).sum()), "losses": int((values < 0).sum()),
    }  # fmt: skip


def bootstrap_interval(values: np.ndarray) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean at `LEVEL` percent, always with the same random numbers.

    Args:
        values: (n,) independent units. One unit has no interval: both ends are NaN.
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    means = values[draws].mean(axis=1)
    low, high = np.percentile(means, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)
