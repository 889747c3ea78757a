"""Runs from a CSV in the layout of the authors' run table."""

from pathlib import Path

import pandas as pd

from ufgir.config.messages import did_you_mean, listed, nearest
from ufgir.errors import UserError, first_line
from ufgir.reports.collected import WHOLE, Collected, tidy
from ufgir.reports.layout import CELL, NEEDED, rate_text

NUMBERS = ("lr", "test_top1", "gmacs", "params_m", "train_minutes", "vram_gb", "num_classes", "images_per_second")


def read_runs(file: Path) -> Collected:
    """The runs of a CSV file.

    Raises:
        UserError: it is no CSV, has no rows, lacks columns, or holds text where numbers belong.
    """
    try:
        frame = pd.read_csv(file, dtype={"keep_rate": str})
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors, as is wrong encoding
        raise UserError(f"runs={file} cannot be read as CSV ({first_line(error)}).") from error
    frame.columns = frame.columns.str.strip()
    if lacking := [name for name in NEEDED if name not in frame.columns]:
        hints = "".join(did_you_mean(nearest(name, set(frame.columns) - set(NEEDED))) for name in lacking)
        raise UserError(f"runs={file} lacks the columns {listed(lacking, 'and')}; those needed are "
                        f"{listed(NEEDED, 'and')}.{hints}")
    if frame.empty:
        raise UserError(f"runs={file} has no rows: there is nothing to report.")
    if faults := _faults(frame, file):
        raise UserError(*faults)
    return _tidy(frame)


def _faults(frame: pd.DataFrame, file: Path) -> list[str]:
    """Cells that are empty, or no numbers, where a run needs them; the first of each column."""
    faults = []
    for name in NEEDED:
        if (empty := frame[name].isna()).any():
            faults.append(f"runs={file}: {name} is empty in line {empty.idxmax() + 2} and {empty.sum() - 1} others.")
    for name in (*WHOLE, *(name for name in NUMBERS if name in frame.columns)):
        wrong = frame[name].notna() & pd.to_numeric(frame[name], errors="coerce").isna()
        if wrong.any():
            value = frame[name][wrong.idxmax()]
            faults.append(f"runs={file}: {name} is {value!r} in line {wrong.idxmax() + 2}; expected a number.")
    rates = pd.to_numeric(frame["keep_rate"].dropna().str.split().explode(), errors="coerce")  # one or one per layer
    if not (sound := rates.between(0, 1, inclusive="right")).all():
        value = frame["keep_rate"][sound.idxmin()]
        faults.append(f"runs={file}: keep_rate is {value!r} in line {sound.idxmin() + 2}; expected one in (0, 1].")
    return faults


def _tidy(frame: pd.DataFrame) -> Collected:
    frame = tidy(frame)
    frame["keep_rate"] = [rate_text([float(rate) for rate in rates.split()]) for rates in frame["keep_rate"]]
    repeated = frame.duplicated([*CELL, "seed"])
    skipped = [f"line {line + 2}: the same cell and seed as an earlier line" for line in frame.index[repeated]]
    return Collected(frame[~repeated].reset_index(drop=True), skipped)
