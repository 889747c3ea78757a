"""The paper's results by cell, shipped with the package, and how that file is made.

    python -m ufgir.reports.paper runs=published_runs.csv [out=FILE]

runs  the authors' run table, one row for each run
out   the file to write (default: the one in the package)

Counts the GMACs of all cells in some 400 models that are built one after another: a quarter of an hour on one core.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import track

from ufgir.cli import DONE, parse_words, run_command
from ufgir.data.ultra_fgvc import SETS
from ufgir.errors import UserError
from ufgir.files import place_faults, saving, written_whole
from ufgir.reports.cells import cells_of
from ufgir.reports.collect_csv import read_runs
from ufgir.reports.recount import recount

FILE = Path(__file__).parent / "data" / "paper_cells.csv"
TITLE = "Cross-Layer Cache Aggregation for Token Reduction in Ultra-Fine-Grained Image Recognition"
SOURCE = (
    f"Mean and standard deviation (n - 1) of the test top-1 in percent over the seeds of the {{count:,}} runs that the "
    f"authors of {TITLE} (Rios et al., ICASSP 2025, arXiv 2501.00243, https://github.com/arkel23/CLCA) published. "
    "gmacs: not theirs, but recounted by ufgir, attention included."
)
COLUMNS = ("dataset", "backbone", "reducer", "keep_rate", "image_size", "plugins", "n", "mean", "std", "gmacs")


def paper_cells() -> pd.DataFrame:
    """The shipped cells: the columns of `COLUMNS`, keep rates as text."""
    return pd.read_csv(FILE, comment="#", dtype={"keep_rate": str})


def paper_source() -> str:
    """Where the shipped numbers come from, in a sentence or two."""
    with FILE.open(encoding="utf-8") as stream:
        return stream.readline().removeprefix("# ").strip()


def classes_of(dataset: str) -> int | None:
    """Number of classes of one of the paper's data sets; None for any other."""
    return SETS[dataset].counts["classes"] if dataset in SETS else None


def make(arguments: Sequence[str]) -> int:
    """Write the file of the paper's cells from the authors' run table."""
    words, faults = parse_words(arguments, ("runs", "out"))
    if "runs" not in words:
        faults.append("runs=FILE.csv is missing: the authors' run table.")
    out = Path(words.get("out", FILE)).expanduser()
    faults += place_faults("out", out)
    if faults:
        raise UserError(*faults)
    runs = read_runs(Path(words["runs"]).expanduser()).runs
    cells = cells_of(runs)
    names = ["backbone", "reducer", "keep_rate", "image_size", "plugins"]
    rows = track(cells.to_dict("records"), "counting", console=Console(stderr=True))
    cells["gmacs"] = [recount(*(row[name] for name in names), classes_of(row["dataset"])) for row in rows]
    with saving("out", out), written_whole(out) as stream:
        stream.write(f"# {SOURCE.format(count=len(runs))}\n")
        cells[list(COLUMNS)].round({"mean": 4, "std": 4, "gmacs": 4}).to_csv(stream, index=False)
    print(f"{len(cells)} cells: {out}")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(make, usage=__doc__))
