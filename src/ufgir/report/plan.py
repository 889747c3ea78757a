"""Which runs are missing: of the grids that were planned, and of cells with fewer seeds than their neighbours."""

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ufgir.errors import UserError, did_you_mean
from ufgir.report.collect import CELL, TOME_QUARTER, rate_text
from ufgir.utils import project_dir

KEYS = ["protocol", "dataset", "backbone", "reducer", "keep_rate", "image_size", "plugins", "lr"]
COVERED = 0.9  # share of a grid's runs on a data set from which on it counts as planned there


def sweep_files() -> dict[str, Path]:
    """The grids that ship with the project: name -> file."""
    return {file.stem: file for file in sorted((project_dir("sweeps") / "sweep").glob("*.yaml"))}


def planned_runs(file: Path) -> pd.DataFrame:
    """The runs of a grid: the `KEYS` that its file settles, others NaN; `seed`; and `job`, equal for equal runs.

    Raises:
        UserError: it is no grid.
    """
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    union = content.get("union") if isinstance(content, dict) else None
    if not isinstance(union, list) or not all(isinstance(axes, dict) for axes in union):
        raise UserError(f"sweep={file}: expected `union`, a list of products such as {{reducer: evit, seed: [1, 10]}}.")
    words = dict(word.partition("=")[::2] for word in content.get("words") or [])
    rows = []
    for axes in union:
        values = [value if isinstance(value, list) else [value] for value in axes.values()]
        for chosen in product(*values):
            rows.append(_named({**words, **dict(zip(axes, chosen, strict=True))}))
    return pd.DataFrame(rows).reindex(columns=[*KEYS, "seed", "job"]).drop_duplicates("job")


def _named(run: dict[str, Any]) -> dict[str, Any]:
    named = {key: run[key] for key in KEYS if key in run} | {"protocol": run.get("protocol", "test")}
    if "optim.lr" in run:
        named["lr"] = float(run["optim.lr"])
    if named.get("reducer") == "none":
        named["keep_rate"] = 1.0
    if named.get("reducer") == "tome" and str(run.get("reduction_layers")) == str(TOME_QUARTER):
        named["keep_rate"] = 0.25
    named |= {"keep_rate": rate_text(named["keep_rate"])} if "keep_rate" in named else {}
    named |= {"image_size": int(named["image_size"])} if "image_size" in named else {}
    return {**named, "seed": int(run.get("seed", 1)), "job": str(sorted((k, str(v)) for k, v in run.items()))}


def find_plans(sweeps: Iterable[str], runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The planned runs of the named grids; without names of those that `runs` cover nearly, data set by data set.

    Args:
        sweeps: names of grids that ship, or YAML files.

    Raises:
        UserError: there is no such grid.
    """
    files = sweep_files()
    if sweeps:
        for name in sweeps:
            if name not in files and not Path(name).is_file():
                known = ", ".join(files)
                raise UserError(f"sweep={name}: expected {known} or a YAML file.{did_you_mean(name, files)}")
        return {name: planned_runs(files.get(name) or Path(name)) for name in sweeps}
    plans = {}
    for name, file in files.items():
        planned = planned_runs(file)
        if planned[["dataset", "backbone", "image_size"]].isna().any(axis=None):
            continue
        parts = [
            part
            for _, part in planned.groupby("dataset")
            if _absent(part, runs)["absent"].sum() <= (1 - COVERED) * len(part)
        ]
        if parts:
            plans[name] = pd.concat(parts)
    return plans


def _absent(planned: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Of each planned cell the number of `absent` runs and the `seeds` that they may have.

    Runs count whatever their seed: one with another seed than planned stands for a planned one.
    """
    keys = [key for key in KEYS if planned[key].notna().all()]
    groups = planned.groupby(keys)["seed"].agg(planned="size", wanted=list)
    found = runs.groupby(keys)["seed"].agg(found="size", there=list)
    cells = groups.join(found)
    cells["absent"] = (cells["planned"] - cells["found"].fillna(0)).clip(lower=0).astype(int)
    cells = cells[cells["absent"] > 0].reset_index()
    there = [seeds if isinstance(seeds, list) else [] for seeds in cells["there"]]
    cells["seeds"] = [
        " ".join(map(str, [seed for seed in dict.fromkeys(row.wanted) if seed not in have][: row.absent]))
        for row, have in zip(cells.itertuples(), there, strict=True)
    ]
    return cells


def missing_runs(
    runs: pd.DataFrame, plans: dict[str, pd.DataFrame], unfinished: pd.DataFrame, lacking: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Runs that were planned or begun and are not finished, by cell: no cell that nobody planned.

    Args:
        runs: finished runs that are not limited.
        plans: planned runs by name of the grid.
        unfinished: runs that failed or did not end.
        lacking: by protocol the seeds without all folds.

    Returns:
        `protocol`, `CELL` without `variant`, `absent` (runs), `seeds` and `why`.
    """
    names = ["protocol", *CELL[:-1]]
    parts = []
    for name, planned in plans.items():
        for _, part in planned.groupby(planned[KEYS].isna().apply(tuple, axis=1)):  # products that settle the same keys
            parts.append(_absent(part, runs).assign(why=f"planned in {name}"))
    known = pd.concat([plan for plan in plans.values()])[names].dropna() if plans else pd.DataFrame(columns=names)
    begun = unfinished[~unfinished["limited"]]
    if len(begun):
        again = begun.merge(runs[[*names, "seed"]].drop_duplicates(), on=[*names, "seed"], how="left", indicator=True)
        begun = again[again["_merge"] == "left_only"]
        parts.append(begun.assign(absent=1, seeds=begun["seed"].astype(str)))
    parts += [part.assign(protocol=protocol, absent=1, seeds=part["seed"].astype(str))
              for protocol, part in lacking.items()]  # fmt: skip
    done = pd.concat([part.reindex(columns=names) for part in parts]) if parts else pd.DataFrame(columns=names)
    settled = set(pd.concat([known, done]).itertuples(index=False, name=None))
    fewer = [row for row in _fewer_seeds(runs, names) if tuple(row[name] for name in names) not in settled]
    parts.append(pd.DataFrame(fewer))
    missing = (
        pd.concat([part for part in parts if len(part)], ignore_index=True) if any(map(len, parts)) else pd.DataFrame()
    )
    missing = missing.reindex(columns=[*names, "absent", "seeds", "why"])
    return missing.astype({name: object for name in names}).fillna({name: "any" for name in names})


def _fewer_seeds(runs: pd.DataFrame, names: list[str]) -> Iterator[dict[str, Any]]:
    """Cells with fewer seeds than most others of their data set, size and plug-ins."""
    seeds = runs.groupby([*names, "variant"])["seed"].agg(lambda values: frozenset(values)).reset_index()
    for _, part in seeds.groupby(["protocol", "dataset", "image_size", "plugins"]):
        counts = part["seed"].value_counts()
        usual = counts.index[0]
        if len(part) < 3 or counts.iloc[0] < 0.6 * len(part):
            continue
        for row in part.to_dict("records"):
            if len(row["seed"]) < len(usual):
                absent = " ".join(map(str, sorted(usual - row["seed"])))
                yield {**row, "absent": len(usual - row["seed"]), "seeds": absent, "why": "fewer seeds than the others"}
