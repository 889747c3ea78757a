"""From runs to cells: folds pooled, seeds averaged, paired differences with their intervals, and what is missing."""

import numpy as np
import pandas as pd

from ufgir.config.compose import compose
from ufgir.report.collect import CELL, normalize_rates, published
from ufgir.sweep.grid import label, load_grid

MEASURED = ["gmacs", "params_m", "images_per_second", "train_minutes", "vram_gb"]  # averaged over the runs of a cell
RESAMPLES = 10_000
NAMES = ["protocol", *CELL[:-1]]  # of a cell whatever its variant
KEYS = [*NAMES, "lr"]  # what a grid may settle
LEVEL = 95  # percent of the bootstrap distribution within the interval


def scored(runs: pd.DataFrame, protocol: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of a protocol with their accuracy as `top1`, limited ones left out.

    The folds of a cross-validation become one row for each seed: the share of all images that were classified
    correctly, each image tested once. A seed without all of its folds is left out.

    Returns:
        the rows; and those of `CELL` and `seed` left out, with `why`.
    """
    runs = runs[(runs["protocol"] == protocol) & ~runs["limited"]]
    runs = runs.assign(top1=runs["val_top1" if protocol == "val" else "test_top1"])
    keys = [*CELL, "seed"]
    if protocol != "cv":
        return runs, runs.iloc[:0].assign(why="")[[*keys, "why"]]
    images = runs["test_images"].fillna(runs.groupby(keys)["test_images"].transform("mean")).fillna(1.0)
    runs = runs.assign(test_images=images, hits=images * runs["top1"])
    groups = runs.groupby(keys)
    pooled = groups.first()
    pooled[MEASURED] = groups[MEASURED].mean()
    pooled["train_minutes"] = groups["train_minutes"].sum(min_count=1)
    pooled["test_images"] = groups["test_images"].sum()
    pooled["top1"] = groups["hits"].sum() / pooled["test_images"]
    pooled["why"] = [_absent_folds(part) for _, part in groups]
    pooled = pooled.reset_index()
    is_whole = pooled["why"] == ""
    return pooled[is_whole].drop(columns="why"), pooled.loc[~is_whole, [*keys, "why"]]


def _absent_folds(runs: pd.DataFrame) -> str:
    folds = int(runs["folds"].max() if runs["folds"].notna().any() else runs["fold"].max() + 1)
    absent = sorted(set(range(folds)) - set(runs["fold"].dropna().astype(int)))
    return f"absent folds: {', '.join(map(str, absent))} (of {folds})" if absent else ""


def cells_of(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each cell of the rows of `scored`.

    Returns:
        `CELL`; `n` runs (seeds) and their `seeds`; `mean` and `std` of the top-1 in percent (`std` with n - 1, NaN for
        one run); the means of `MEASURED`.
    """
    groups = runs.sort_values([*CELL, "seed"]).groupby(CELL)
    cells = groups["top1"].agg(n="size", mean="mean", std="std")
    cells["seeds"] = groups["seed"].agg(lambda seeds: " ".join(map(str, seeds)))
    return cells.join(groups[MEASURED].mean()).reset_index()


def paper_cells() -> pd.DataFrame:
    """The cells of the authors' runs, see `cells_of`."""
    return cells_of(scored(published().runs, "test")[0])


def main_variant(cells: pd.DataFrame, best: bool) -> pd.DataFrame:
    """One variant of each cell, for figures: that with the most runs, then the first; or the most accurate one."""
    order = ["mean", "variant"] if best else ["n", "variant"]
    names = [name for name in CELL if name != "variant"]
    return cells.sort_values(order, ascending=[False, True]).drop_duplicates(names).sort_index()


def pairs_of(runs: pd.DataFrame, better: str = "clca", worse: str = "base") -> tuple[pd.DataFrame, int]:
    """Runs of the same cell and seed but for the plug-ins.

    Returns:
        `CELL` without `plugins`, `seed` and the `difference` in percentage points; and the number of runs of either
        setting that have no partner.
    """
    keys = [name for name in CELL if name != "plugins"] + ["seed"]
    wide = runs[runs["plugins"].isin([better, worse])].pivot(index=keys, columns="plugins", values="top1")
    wide = wide.reindex(columns=[better, worse])
    pairs = wide.dropna()
    return (pairs[better] - pairs[worse]).rename("difference").reset_index(), len(wide) - len(pairs)


def summary(pairs: pd.DataFrame) -> dict[str, float]:
    """Mean difference, its interval and who won how often.

    The unit is a cell, its seeds averaged, because the seeds of a cell say little about other cells; within a single
    cell it is the seed.

    Returns:
        `units`, `of` (cells or seeds), `mean`, `low`, `high` (percentage points; NaN for one unit), `wins`, `ties`,
        `losses`.
    """
    units = pairs.groupby([name for name in CELL if name != "plugins"])["difference"].mean()
    of = "cells" if len(units) > 1 else "seeds"
    values = (units if len(units) > 1 else pairs["difference"]).to_numpy()
    low, high = bootstrap_interval(values)
    return {
        "units": len(values), "of": of, "mean": values.mean(), "low": low, "high": high,
        "wins": int((values > 0).sum()), "ties": int((values == 0).sum()), "losses": int((values < 0).sum()),
    }  # fmt: skip


def bootstrap_interval(values: np.ndarray, groups: np.ndarray | None = None) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of (n,) units at `LEVEL` percent, the same every time.

    Units of one of the `groups` (n,) are drawn together; None: each one by itself.
    """
    groups = np.arange(len(values)) if groups is None else groups
    units = pd.Series(values).groupby(groups).agg(["sum", "size"]).to_numpy()  # (groups, 2)
    if len(units) < 2:
        return float("nan"), float("nan")
    draws = units[np.random.default_rng(0).integers(0, len(units), (RESAMPLES, len(units)))].sum(axis=1)
    low, high = np.percentile(draws[:, 0] / draws[:, 1], [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)


def planned_runs(name: str) -> pd.DataFrame:
    """The runs of a grid: the `KEYS` that it settles, others NaN; and `seed`.

    Args:
        name: of a grid that ships, or a YAML file.

    Raises:
        UserError: it is no grid, or its words are not of this package.
    """
    grid = load_grid(name).model_copy(update={"published_lr": False})
    default = {"protocol": compose(grid.words)["protocol"], "seed": 1}
    rows = []
    for job in grid.expand():
        values = dict(override.partition("=")[::2] for override in job)
        rows.append({**default, **values, "keep_rate": label(job, "keep_rate"), "lr": values.get("optim.lr")})
    planned = pd.DataFrame(rows).reindex(columns=[*KEYS, "seed"])
    numbers = ["image_size", "lr", "seed"]
    planned[numbers] = planned[numbers].apply(pd.to_numeric)
    planned["keep_rate"] = planned["keep_rate"].map(normalize_rates, na_action="ignore")
    return planned


def missing_runs(
    runs: pd.DataFrame, plans: dict[str, pd.DataFrame], unfinished: pd.DataFrame, lacking: pd.DataFrame
) -> pd.DataFrame:
    """Runs that were planned or begun and are not finished, by cell.

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
    missing = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    missing = missing.reindex(columns=[*NAMES, "absent", "seeds", "why"])
    return missing.astype(dict.fromkeys(NAMES, object)).fillna(dict.fromkeys(NAMES, "any"))


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
