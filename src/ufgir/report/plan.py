"""Which runs are missing: of the grids that were planned, and of cells with fewer seeds than their neighbours."""

from collections.abc import Iterable

import pandas as pd

from ufgir.report.collect import CELL, rate_text
from ufgir.sweep.grid import grid_names, label, load_grid

NAMES = ["protocol", *CELL[:-1]]
KEYS = [*NAMES, "lr"]
COVERED = 0.9  # share of a grid's runs on a data set from which on it counts as planned there


def planned_runs(name: str) -> pd.DataFrame:
    """The runs of a grid: the `KEYS` that it settles, others NaN; and `seed`.

    Args:
        name: of a grid that ships, or a YAML file.

    Raises:
        UserError: it is no grid.
    """
    rows = []
    for job in load_grid(name).model_copy(update={"published_lr": False}).expand():
        values = dict(override.partition("=")[::2] for override in job)
        own = {"keep_rate": label(job, "keep_rate"), "lr": values.get("optim.lr")}
        rows.append({"protocol": "test", "seed": 1, **values, **own})
    planned = pd.DataFrame(rows).reindex(columns=[*KEYS, "seed"])
    numbers = ["image_size", "lr", "seed"]
    planned[numbers] = planned[numbers].apply(pd.to_numeric)
    planned["keep_rate"] = planned["keep_rate"].map(rate_text, na_action="ignore")
    return planned


def find_plans(sweeps: Iterable[str], runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The planned runs of the named grids; without names of those that `runs` cover nearly, data set by data set.

    Raises:
        UserError: there is no such grid.
    """
    if sweeps:
        return {name: planned_runs(name) for name in sweeps}
    plans = {}
    for name in grid_names():
        planned = planned_runs(name)
        if planned[["dataset", "backbone", "image_size"]].notna().all(axis=None):
            absent = _absent(planned, runs).groupby("dataset")["absent"].sum()
            share = absent.reindex(planned["dataset"].unique(), fill_value=0) / planned["dataset"].value_counts()
            covered = planned[planned["dataset"].isin(share.index[share <= 1 - COVERED])]
            plans |= {name: covered} if len(covered) else {}
    return plans


def _absent(planned: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Of each planned cell the number of `absent` runs and the `seeds` that they may have.

    Runs count whatever their seed: one with another seed than planned stands for a planned one.
    """
    keys = [key for key in KEYS if planned[key].notna().all()]
    found = runs.groupby(keys)["seed"].agg(list).to_dict()
    rows = []
    for key, wanted in planned.groupby(keys)["seed"]:
        there = found.get(key, [])
        if (absent := len(wanted) - len(there)) > 0:
            seeds = [str(seed) for seed in wanted.unique() if seed not in there][:absent]
            rows.append({**dict(zip(keys, key, strict=True)), "absent": absent, "seeds": " ".join(seeds)})
    return pd.DataFrame(rows, columns=[*keys, "absent", "seeds"])


def missing_runs(
    runs: pd.DataFrame, plans: dict[str, pd.DataFrame], unfinished: pd.DataFrame, lacking: pd.DataFrame
) -> pd.DataFrame:
    """Runs that were planned or begun and are not finished, by cell: no cell that nobody planned.

    Args:
        runs: finished runs that are not limited.
        plans: planned runs by name of the grid.
        unfinished: runs that failed or did not end.
        lacking: the seeds without all folds.

    Returns:
        `protocol`, `CELL` without `variant`, `absent` (runs), `seeds` and `why`.
    """
    done = runs.set_index([*NAMES, "seed"]).index
    begun = unfinished[~unfinished["limited"] & ~unfinished.set_index([*NAMES, "seed"]).index.isin(done)]
    parts = [part.assign(absent=1, seeds=part["seed"].astype(str)) for part in (begun, lacking)]
    for name, planned in plans.items():
        for _, part in planned.groupby(planned[KEYS].isna().apply(tuple, axis=1)):  # products that settle the same keys
            parts.append(_absent(part, runs).assign(why=f"planned in {name}"))
    settled = pd.concat([*parts, *plans.values()])[NAMES].dropna().drop_duplicates()
    fewer = _fewer_seeds(runs)
    parts.append(fewer[~fewer.set_index(NAMES).index.isin(settled.set_index(NAMES).index)])
    missing = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    missing = missing.reindex(columns=[*NAMES, "absent", "seeds", "why"])
    return missing.astype(dict.fromkeys(NAMES, object)).fillna(dict.fromkeys(NAMES, "any"))


def _fewer_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """Cells with fewer seeds than most others of their data set, size and plug-ins."""
    cells = runs.groupby([*NAMES, "variant"])["seed"].agg(frozenset).reset_index()
    rows = []
    for _, part in cells.groupby(["protocol", "dataset", "image_size", "plugins"]):
        counts = part["seed"].value_counts()
        usual = counts.index[0]
        if len(part) >= 3 and counts.iloc[0] >= 0.6 * len(part):
            few = part[part["seed"].map(len) < len(usual)]
            absent = few["seed"].map(lambda seeds, usual=usual: sorted(usual - seeds))
            seeds = absent.map(lambda some: " ".join(map(str, some)))
            rows.append(few.assign(absent=absent.map(len), seeds=seeds, why="fewer seeds than the others"))
    return pd.concat(rows) if rows else cells.iloc[:0]
