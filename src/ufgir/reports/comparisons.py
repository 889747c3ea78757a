"""Tables that set one thing beside another: CLCA beside the base, ours beside the paper's."""

import pandas as pd

from ufgir.reports.cells import accuracy_text, cost_text
from ufgir.reports.layout import CELL, MISSING, TITLES
from ufgir.reports.statistics import LEVEL, RESAMPLES, pairs_of, summary
from ufgir.reports.table import Table
from ufgir.reports.tables import arranged, row_names, titled

GROUPS = (["image_size", "reducer", "keep_rate"], ["image_size", "dataset"], ["image_size", "backbone"], ["image_size"])


def differences(runs: pd.DataFrame, better: str = "clca", worse: str = "base") -> Table | None:
    """Paired differences of two plug-in settings by group; None where no run has a partner."""
    pairs, alone = pairs_of(runs, better, worse)
    if pairs.empty:
        return None
    rows = []
    for keys in GROUPS:
        for values, group in arranged(pairs, keys).groupby(keys, sort=False):
            named = dict(zip(keys, values, strict=True))
            rows.append({"by": " ".join(TITLES.get(key, key) for key in keys), **named, **summary(group)})
    values = pd.DataFrame(rows)
    names = [name for name in ("image_size", "reducer", "keep_rate", "dataset", "backbone") if name in values]
    frame = values[names].astype(object).where(values[names].notna(), "all").astype(str)
    frame["units"] = [f"{row.units} {row.of if row.units != 1 else row.of[:-1]}" for row in values.itertuples()]
    frame["difference"] = [f"{mean:+.1f}" for mean in values["mean"]]
    frame[f"{LEVEL} % interval"] = [
        MISSING if pd.isna(row.low) else f"{row.low:+.1f} to {row.high:+.1f}" for row in values.itertuples()
    ]
    for name in ("wins", "ties", "losses"):
        frame[name] = values[name]
    notes = [
        f"Percentage points of test top-1, {better} minus {worse}, over runs of the same cell and seed. Runs "
        f"without a partner, left out: {alone}. A unit is a cell with its seeds averaged, or a seed where there is one "
        f"cell. Interval: {RESAMPLES:,} bootstrap resamples of the units. A win is a unit with a difference above 0."
    ]
    return Table("differences", f"{better.upper()} minus {worse}", titled(frame), values, notes, len(names))


def beside_paper(cells: pd.DataFrame, paper: pd.DataFrame, source: str) -> Table:
    """Ours and the paper's, every cell that either of them has; those that the paper alone has come last."""
    keys = list(CELL)
    paper = paper.assign(variant="")
    both = cells.merge(paper, on=keys, how="outer", suffixes=("", "_paper"))
    both["difference"] = both["mean"] - both["mean_paper"]
    both = arranged(both, keys)
    both = pd.concat([both[both["mean"].notna()], both[both["mean"].isna()]])
    names = row_names(both, *CELL[:-1])
    frame = both[names].astype(str)
    frame["ours"] = [accuracy_text(row.mean, row.std) for row in both[["mean", "std"]].itertuples(index=False)]
    frame["paper"] = [accuracy_text(*pair) for pair in zip(both["mean_paper"], both["std_paper"], strict=True)]
    frame["difference"] = [MISSING if pd.isna(value) else f"{value:+.1f}" for value in both["difference"]]
    frame["GMACs"] = [cost_text(value) for value in both["gmacs"]]
    frame["paper GMACs"] = [cost_text(value) for value in both["gmacs_paper"]]
    ours, theirs = both["mean"].notna(), both["mean_paper"].notna()
    notes = [
        f"{(ours & theirs).sum():,} cells in both, {(ours & ~theirs).sum():,} of ours alone, "
        f"{(~ours & theirs).sum():,} of the paper's alone ({MISSING}: no run).",
        f"Paper: {source}",
    ]
    values = both[[*keys, "n", "mean", "std", "gmacs", "n_paper", "mean_paper", "std_paper", "gmacs_paper",
                   "difference"]]  # fmt: skip
    return Table("comparison", "Ours beside the paper", titled(frame), values, notes, len(names))
