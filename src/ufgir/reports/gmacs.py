"""GMACs for the runs that come without a trustworthy count."""

import pandas as pd
from rich.console import Console
from rich.progress import track

from ufgir.errors import UserError
from ufgir.reports.paper import classes_of, paper_cells
from ufgir.reports.recount import recount

KEY = ["backbone", "reducer", "keep_rate", "image_size", "plugins", "num_classes"]


def with_gmacs(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Recount the GMACs of all runs but those that were counted in the run itself.

    The column of a CSV is never taken as it is: the authors' counts attention in some rows and not in others.

    Returns:
        the runs with `num_classes`, `gmacs` and `gmacs_source` (`run`, `recount`, or empty), and a sentence for
        each kind of cell that cannot be counted.
    """
    runs = runs.copy()
    runs["num_classes"] = runs["num_classes"].fillna(runs["dataset"].map(classes_of).astype(float))
    own = (runs["gmacs_source"] != "") & runs["gmacs"].notna()
    keys = pd.Series(list(runs[KEY].itertuples(index=False, name=None)), index=runs.index)
    counts, faults = _known(), {}
    unknown = [key for key in dict.fromkeys(keys[~own]) if key not in counts]
    for key in track(unknown, "counting GMACs", console=Console(stderr=True), transient=True, disable=not unknown):
        counts[key], fault = _recount(key)
        faults.update(fault)
    runs["gmacs"] = runs["gmacs"].where(own, keys.map(counts))
    runs["gmacs_source"] = runs["gmacs_source"].where(own, "recount").where(runs["gmacs"].notna(), "")
    return runs, list(faults)


def _known() -> dict[tuple, float]:
    """The counts that are shipped."""
    cells = paper_cells()
    cells["num_classes"] = cells["dataset"].map(classes_of).astype(float)
    return dict(zip(cells[KEY].itertuples(index=False, name=None), cells["gmacs"], strict=True))


def _recount(key: tuple) -> tuple[float, dict[str, None]]:
    """The count of a cell, or the reason why there is none."""
    *words, classes = key
    if pd.isna(classes):
        return float("nan"), {"GMACs are missing where the number of classes is unknown: a CSV tells it in a column "
                              "num_classes.": None}
    try:
        return recount(*words, int(classes)), {}
    except (UserError, ValueError) as error:
        return float("nan"), {f"GMACs of {' '.join(map(str, words))} cannot be counted: {error}": None}
