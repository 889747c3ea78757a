"""What a benchmark leaves: a table to read, CSV and JSON to compute with, a figure; and the way back from the CSV."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ufgir.benchmarks.measure import KEYS
from ufgir.errors import UserError
from ufgir.files import written_whole
from ufgir.reports.table import Table


def write(folder: Path, rows: Sequence[dict[str, Any]], loaders: Sequence[dict[str, Any]]) -> None:
    """Write `benchmark.csv` and `benchmark.json` (with the loaders, if they were measured) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / "benchmark.csv") as stream:
        pd.DataFrame(rows).to_csv(stream, index=False)
    with written_whole(folder / "benchmark.json") as stream:
        stream.write(json.dumps({"models": list(rows), "loaders": list(loaders)}, indent=2) + "\n")


def read(file: Path) -> pd.DataFrame:
    """The rows of an earlier `benchmark.csv`.

    Raises:
        UserError: it is none.
    """
    try:
        frame = pd.read_csv(file, dtype={"words": str}).fillna({"words": ""})  # a row may have no words
    except (OSError, ValueError) as error:
        raise UserError(f"compare={file} cannot be read: {error}") from error
    if absent := [name for name in (*KEYS, "ms", "speedup") if name not in (*frame, "words")]:
        raise UserError(f"compare={file} is no benchmark.csv of this command: it lacks {', '.join(absent)}.")
    return frame


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """What is worth reading of the rows; words that all share are in the title."""
    frame = pd.DataFrame(rows)
    names = [name for name in KEYS if frame[name].nunique() > 1] or ["reducer"]
    told = {name: f"{name}={frame[name][0]}" for name in KEYS} | {"words": frame["words"][0]}
    shared = [text for name, text in told.items() if name not in names and text]
    texts = frame[names].astype(str)
    texts["GMACs"] = frame["gmacs"].map("{:.2f}".format)
    texts["images/s"] = frame["images_per_second"].map("{:.1f}".format)
    texts["ms (quartiles)"] = [f"{r['ms']:.1f} ({r['ms_q1']:.1f} to {r['ms_q3']:.1f})" for r in rows]
    texts["peak GB"] = frame["peak_memory_gb"].map("{:.2f}".format)
    texts["× unreduced"] = [interval(row, "speedup") for row in rows]
    texts["× fewer MACs"] = frame["macs_ratio"].map("{:.2f}".format)
    texts["realised"] = [interval(row, "realised") for row in rows]
    texts["× explicit"] = [interval(row, "explicit_speedup") for row in rows]
    where = rows[0]
    notes = [
        f"{where['device']}, {where['threads']} threads, torch {where['torch']}, timm {where['timm']}. Median of "
        f"{where['rounds']} paired ratios with its 95 % interval, orders swapped from pair to pair; "
        f"{'the best of several processes' if 'of_processes' in frame else 'one process'}.",
        "unreduced: timm's own model; explicit: the same model forming attention matrices; "
        "realised: speed-up over unreduced ÷ ratio of MACs.",
    ]
    return Table("benchmark", " ".join(shared) or "all", texts, frame, notes, heads=len(names))


def loader_table(loaders: Sequence[dict[str, Any]]) -> Table:
    """The loader's speed with each cache, beside what the models eat."""
    frame = pd.DataFrame(loaders)
    texts = frame[["cache"]].astype(str)
    texts["first epoch, images/s"] = frame["first_epoch"].map("{:.0f}".format)
    texts["later epochs, images/s"] = frame["later_epochs"].map("{:.0f}".format)
    texts["× uncached"] = frame["over_uncached"].map("{:.1f}".format)
    texts["× unreduced training"] = frame["over_training"].map(lambda value: "" if pd.isna(value) else f"{value:.1f}")
    note = f"{loaders[0]['images']} images, {loaders[0]['workers']} workers; the first epoch fills the cache."
    return Table("loaders", "loader alone", texts, frame, [note])


def changes(rows: Sequence[dict[str, Any]], earlier: pd.DataFrame) -> list[str]:
    """A sentence for each row that an earlier benchmark has too: slower, faster or the same, by its speed-up.

    Speed-ups over the unreduced model are compared, not times: machine and load may have changed. A benchmark from
    before rows had `words` is matched by the other columns.
    """
    lines = []
    frame = pd.DataFrame(rows)
    keys = [name for name in KEYS if name in earlier]
    merged = frame.astype(dict.fromkeys(keys, str)).merge(
        earlier.astype(dict.fromkeys(keys, str)), on=keys, suffixes=("", "_before")
    )
    for row in merged.to_dict("records"):
        change = row["speedup"] / row["speedup_before"]
        apart = row["speedup_high"] < row["speedup_low_before"] or row["speedup_low"] > row["speedup_high_before"]
        verdict = "as before"
        if apart:
            verdict = "SLOWER" if change < 1 else "faster"
        name = " ".join(str(row[key]) for key in (*KEYS[:7], "words")).rstrip()
        lines.append(f"{verdict:9} {name}: × unreduced {row['speedup_before']:.2f} -> {row['speedup']:.2f}")
    return lines or ["compare: no row of the earlier benchmark is among these."]


def interval(row: dict[str, Any], name: str) -> str:
    """`2.95 [2.92, 2.98]`."""
    return f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"
