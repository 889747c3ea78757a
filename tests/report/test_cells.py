"""Means, pooled folds, missing runs and paired differences, against numbers worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from report.fake_runs import write_messy
from ufgir.errors import UserError
from ufgir.report.cells import (
    bootstrap_interval,
    cells_of,
    main_variant,
    missing_runs,
    pairs_of,
    planned_runs,
    scored,
    summary,
)
from ufgir.report.collect import published, read_csv, read_folders
from ufgir.sweep.grid import grid_names


@pytest.fixture
def runs(rows, write):
    return scored(read_csv(write(rows)).runs, "test")[0]


@pytest.fixture(scope="module")
def messy(tmp_path_factory):
    return read_folders(write_messy(tmp_path_factory.mktemp("messy")))


def missing_of(runs, plans, unfinished=None, lacking=None):
    none = runs.iloc[:0].assign(why="")
    return missing_runs(runs, plans, *(none if part is None else part for part in (unfinished, lacking)))


def test_a_cell_is_the_mean_over_its_seeds_and_figures_show_one_variant(runs):
    cells = cells_of(runs).set_index(["dataset", "keep_rate", "plugins"])
    cell = cells.loc[("one", "0.1", "clca")]
    assert (cell["n"], cell["mean"], cell["seeds"], len(cells)) == (2, 25.0, "1 10", 7)
    assert cell["std"] == pytest.approx(50**0.5), "with n - 1"
    assert np.isnan(cells.loc[("one", "0.5", "clca"), "std"])
    both = cells_of(pd.concat([runs.assign(variant="a"), runs.iloc[:1].assign(variant="b", top1=90.0)]))
    assert set(main_variant(both, best=False)["variant"]) == {"a"} and len(main_variant(both, best=False)) == 7
    assert main_variant(both, best=True)["mean"].max() == 90.0


def test_protocols_are_kept_apart_and_folds_pooled_over_images(messy):
    parts = {name: scored(messy.runs, name)[0] for name in ("test", "holdout", "cv", "val")}
    assert {name: len(part) for name, part in parts.items()} == {"test": 50, "holdout": 1, "cv": 1, "val": 6}
    assert not any(part["limited"].any() for part in parts.values())
    assert parts["cv"]["top1"].tolist() == [pytest.approx(0.1 * 10 + 0.2 * 20 + 0.7 * 30)]
    assert parts["val"]["top1"].max() == 47.5 and parts["val"]["test_top1"].isna().all()


def test_the_three_runs_that_the_published_table_lacks():
    runs = published().runs
    plans = {name: planned_runs(name) for name in ("paper_224", "paper_448")}
    names = ["dataset", "backbone", "reducer", "keep_rate", "image_size", "plugins", "absent"]
    assert missing_of(runs, plans)[names].to_numpy().tolist() == [
        ["cotton80", "vit_b_miil", "evit", "0.1", 448, "base", 1],
        ["soyageing", "vit_b_miil", "none", "1", 448, "cla", 1],
        ["soyageing", "vit_b_mocov3", "none", "1", 448, "base", 1],
    ]
    cotton = runs[(runs["dataset"] == "cotton80") & (runs["image_size"] == 448)]
    named = missing_of(cotton, {"paper_448": plans["paper_448"]})
    assert named["absent"].sum() == 2025 - len(cotton), "a grid is planned as a whole"
    with pytest.raises(UserError, match="paper_449.*paper_448"):
        planned_runs("paper_449")


def test_one_absent_seed_counts_and_no_cell_that_nobody_planned(messy):
    whole = messy.runs[~messy.runs["limited"]]
    lacking = scored(whole, "cv")[1].assign(protocol="cv")
    assert lacking["plugins"].tolist() == ["clca"] and "2 (of 3)" in lacking["why"].iloc[0]
    missing = missing_of(whole, {}, messy.unfinished, lacking)
    found = missing[["protocol", "plugins", "image_size", "keep_rate", "seeds"]].to_numpy().tolist()
    assert sorted(found) == [
        ["cv", "clca", 32, "0.5", "1"], ["test", "cla", 32, "0.5", "11"], ["test", "clca", 64, "0.1", "100"],
    ]  # fmt: skip
    assert missing_of(whole, {}).empty, "nothing is guessed"


def test_every_grid_of_the_project_and_a_file_are_understood(tmp_path):
    counts = {"paper_448": 2025, "paper_224": 2430, "lr_search": 225, "ablation": 144, "demo": 10}
    plans = {name: planned_runs(name) for name in grid_names()}
    assert {name: len(plan) for name, plan in plans.items()}.items() >= counts.items()
    protocols = {"lr_search": "val", "paper_448": "test", "photographs": "cv"}  # the last one by its experiment
    assert {name: set(plans[name]["protocol"]) for name in protocols} == {k: {v} for k, v in protocols.items()}
    (tmp_path / "mine.yaml").write_text("union: [{reducer: evit, keep_rate: [[0.7, 0.5, 0.3]], seed: [1, 10]}]")
    mine = planned_runs(str(tmp_path / "mine.yaml"))
    assert mine["keep_rate"].tolist() == ["0.7 0.5 0.3"] * 2 and mine["dataset"].isna().all()


def test_pairs_share_cell_and_seed(runs):
    pairs, alone = pairs_of(runs)
    assert sorted(pairs["difference"]) == [-3, 0, 10, 16]
    assert alone == 1, "base at 0.5 on `two` has no partner"
    whole = summary(pairs)
    assert [whole[key] for key in ("units", "of", "wins", "ties", "losses")] == [3, "cells", 1, 1, 1]
    assert whole["mean"] == pytest.approx((13 + 0 - 3) / 3)
    one = summary(pairs[(pairs["dataset"] == "one") & (pairs["keep_rate"] == "0.1")])
    assert (one["units"], one["of"], one["mean"], one["wins"]) == (2, "seeds", 13, 2)


def test_bootstrap_interval():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    interval = bootstrap_interval(values)
    error = values.std(ddof=1) / 20  # of the mean; the interval is about 1.96 of it to either side
    assert interval == pytest.approx(values.mean() + np.array([-1.96, 1.96]) * error, abs=0.2 * error)
    assert bootstrap_interval(values) == interval, "the same numbers every time"
    assert np.isnan(bootstrap_interval(np.array([4.0]))).all()
    pairs = bootstrap_interval(np.repeat(values, 2), np.repeat(np.arange(len(values)), 2))
    assert pairs == pytest.approx(interval), "units of a group count as one"
