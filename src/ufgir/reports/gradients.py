"""Gradient magnitude by step, from the metrics.csv of runs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ufgir.reports.collected import GRADIENT_COLUMNS

POINTS = 120  # of a run's curve: a figure shows no more


def read_gradients(files: Mapping[str, Path]) -> pd.DataFrame:
    """Largest and mean absolute gradient of runs, averaged within up to `POINTS` stretches of equal length.

    Args:
        files: name of a run -> its metrics.csv; one that is not there, or has no gradients, is passed over.

    Returns:
        Columns `run, step, grad_max, grad_mean`; `step` is the last one of its stretch.
    """
    curves = [_curve(name, file) for name, file in files.items() if file.is_file()]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=list(GRADIENT_COLUMNS))


def _curve(name: str, file: Path) -> pd.DataFrame:
    names = {"train/grad_max": "grad_max", "train/grad_mean": "grad_mean"}
    steps = pd.read_csv(file, usecols=lambda column: column in {"step", *names}).rename(columns=names)
    if not set(names.values()) <= set(steps.columns):
        return pd.DataFrame(columns=list(GRADIENT_COLUMNS))
    steps = steps.dropna()  # rows of epochs and of the test have no gradients
    width = max(1, int(np.ceil(len(steps) / POINTS)))
    stretches = steps.groupby(np.arange(len(steps)) // width)
    curve = stretches[["grad_max", "grad_mean"]].mean()
    curve.insert(0, "step", stretches["step"].max())
    curve.insert(0, "run", name)
    return curve
