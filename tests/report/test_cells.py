"""Means, pooled folds, missing runs and paired differences, against numbers worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from report.fake_runs import write_messy
from ufgir.errors import UserError
from ufgir.report.cells import bootstrap_interval, cells_of, main_variant, pairs_of, scored, summary
from ufgir.report.collect import read_csv, read_folders
from ufgir.report.paper import PUBLISHED
from ufgir.report.plan import find_plans, missing_runs, planned_runs, sweep_files


@pytest.fixture
def runs(rows, write):
    return scored(read_csv(write(rows)).runs, "test")[0]


def test_a_cell_is_the_mean_over_its_seeds(runs):
    cells = cells_of(runs).set_index(["dataset", "keep_rate", "plugins"])
    cell = cells.loc[("one", "0.1", "clca")]
    assert (cell["n"], cell["mean"], cell["seeds"], len(cells)) == (2, 25.0, "1 10", 7)
    assert cell["std"] == pytest.approx(50**0.5), "with n - 1"
    assert np.isnan(cells.loc[("one", "0.5", "clca"), "std"])


def test_protocols_are_kept_apart_and_folds_pooled_over_images(tmp_path):
    runs = read_folders(write_messy(tmp_path)).runs
    parts = {name: scored(runs, name)[0] for name in ("test", "holdout", "cv", "val")}
    assert {name: len(part) for name, part in parts.items()} == {"test": 50, "holdout": 1, "cv": 1, "val": 6}
    assert not any(part["limited"].any() for part in parts.values())
    assert parts["cv"]["top1"].tolist() == [pytest.approx(0.1 * 10 + 0.2 * 20 + 0.7 * 30)]
    assert parts["val"]["top1"].max() == 47.5 and parts["val"]["test_top1"].isna().all()
    lacking = scored(runs, "cv")[1]
    assert lacking["plugins"].tolist() == ["clca"] and "2 (of 3)" in lacking["why"].iloc[0]


def test_figures_show_one_variant_of_a_cell(runs):
    cells = cells_of(pd.concat([runs.assign(variant="a"), runs.iloc[:1].assign(variant="b", top1=90.0)]))
    assert set(main_variant(cells, best=False)["variant"]) == {"a"}
    assert main_variant(cells, best=True)["mean"].max() == 90.0
    assert len(main_variant(cells, best=False)) == 7


def test_the_three_runs_that_the_published_table_lacks():
    published = read_csv(PUBLISHED).runs
    plans = find_plans([], published)
    assert {name: len(plan) for name, plan in plans.items()} == {"paper_224": 2430, "paper_448": 2025}
    missing = missing_runs(published, plans, published.iloc[:0].assign(why=""), {})
    names = ["dataset", "backbone", "reducer", "keep_rate", "image_size", "plugins", "absent"]
    assert missing[names].to_numpy().tolist() == [
        ["cotton80", "vit_b_miil", "evit", "0.1", 448, "base", 1],
        ["soyageing", "vit_b_miil", "none", "1", 448, "cla", 1],
        ["soyageing", "vit_b_mocov3", "none", "1", 448, "base", 1],
    ]


def test_a_part_of_a_grid_is_planned_by_its_data_set_and_a_named_grid_as_a_whole():
    runs = read_csv(PUBLISHED).runs
    cotton = runs[(runs["dataset"] == "cotton80") & (runs["image_size"] == 448)]
    plans = find_plans([], cotton)
    assert plans["paper_448"]["dataset"].unique().tolist() == ["cotton80"] and list(plans) == ["paper_448"]
    named = missing_runs(cotton, find_plans(["paper_448"], cotton), runs.iloc[:0].assign(why=""), {})
    assert named["absent"].sum() == 2025 - len(cotton)
    with pytest.raises(UserError, match="paper_449.*paper_448"):
        find_plans(["paper_449"], cotton)


def test_one_absent_seed_counts_and_no_cell_that_nobody_planned(tmp_path):
    collected = read_folders(write_messy(tmp_path))
    whole = collected.runs[~collected.runs["limited"]]
    lacking = {name: scored(whole, name)[1] for name in ("test", "cv")}
    missing = missing_runs(whole, {}, collected.unfinished, lacking)
    found = missing[["protocol", "plugins", "image_size", "keep_rate", "seeds"]].to_numpy().tolist()
    assert found == [
        ["test", "clca", 64, "0.1", "100"],
        ["test", "cla", 32, "0.5", "11"],
        ["cv", "clca", 32, "0.5", "1"],
    ]
    again = missing_runs(whole, {}, collected.unfinished.iloc[:0], {})
    assert again[["image_size", "keep_rate", "seeds", "why"]].to_numpy().tolist() == [
        [64, "0.1", "100", "fewer seeds than the others"]]  # fmt: skip


@pytest.mark.parametrize("name", sweep_files())
def test_every_grid_of_the_project_is_understood(name):
    planned = planned_runs(sweep_files()[name])
    counts = {"paper_448": 2025, "paper_224": 2430, "lr_search": 225, "ablation": 144, "demo": 10}
    assert (
        len(planned) == counts.get(name, len(planned))
        and planned["protocol"].isin(["test", "val", "holdout", "cv"]).all()
    )


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
    low, high = bootstrap_interval(values)
    error = values.std(ddof=1) / 20  # of the mean; the interval is about 1.96 of it to either side
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)
    assert bootstrap_interval(values) == (low, high), "the same numbers every time"
    assert np.isnan(bootstrap_interval(np.array([4.0]))).all()
