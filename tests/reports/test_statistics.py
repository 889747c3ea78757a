"""Means, spreads and paired differences, against numbers worked out by hand."""

import numpy as np
import pytest

from ufgir.reports.cells import accuracy_text, cells_of, cost_text
from ufgir.reports.comparisons import differences
from ufgir.reports.statistics import bootstrap_interval, pairs_of, summary


def test_a_cell_is_the_mean_over_its_seeds(runs):
    cells = cells_of(runs).set_index(["dataset", "keep_rate", "plugins"])
    cell = cells.loc[("one", "0.1", "clca")]
    assert (cell["n"], cell["mean"], cell["seeds"]) == (2, 25.0, "1 10")
    assert cell["std"] == pytest.approx(50**0.5), "with n - 1"
    assert np.isnan(cells.loc[("one", "0.5", "clca"), "std"])
    assert len(cells) == 7


def test_texts_of_accuracy():
    assert [accuracy_text(55.56, 5.63), accuracy_text(20, float("nan")), accuracy_text(float("nan"), 1)] == [
        "55.6 ± 5.6", "20.0", "–"]  # fmt: skip
    assert [cost_text(gmacs) for gmacs in (29, 0.0064, 304, float("nan"))] == ["29.0", "0.00640", "304", "–"]


def test_pairs_share_cell_and_seed(runs):
    pairs, alone = pairs_of(runs)
    assert sorted(pairs["difference"]) == [-3, 0, 10, 16]
    assert alone == 1, "base at 0.5 on `two` has no partner"


def test_units_are_cells_or_the_seeds_of_one_cell(runs):
    pairs, _ = pairs_of(runs)
    told = summary(pairs)
    assert (told["units"], told["of"], told["wins"], told["ties"], told["losses"]) == (3, "cells", 1, 1, 1)
    assert told["mean"] == pytest.approx((13 + 0 - 3) / 3)
    one = summary(pairs[(pairs["dataset"] == "one") & (pairs["keep_rate"] == "0.1")])
    assert (one["units"], one["of"], one["mean"], one["wins"]) == (2, "seeds", 13, 2)


def test_bootstrap_interval():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    low, high = bootstrap_interval(values)
    error = values.std(ddof=1) / 20  # of the mean; the interval is about 1.96 of it to either side
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)
    assert bootstrap_interval(values) == (low, high), "the same numbers every time"
    assert bootstrap_interval(np.array([4.0, 4.0])) == (4, 4)
    assert np.isnan(bootstrap_interval(np.array([4.0]))).all()


def test_table_of_differences(runs):
    table = differences(runs)
    rows = table.frame.set_index(["px", "reducer", "keep rate", "data set", "backbone"])
    low = rows.loc[("32", "evit", "0.1", "all", "all")]
    assert (low["units"], low["difference"], low["wins"], low["ties"]) == ("2 cells", "+6.5", "1", "1")
    assert low["95 % interval"] == "+0.0 to +13.0"
    alone = rows.loc[("32", "evit", "0.5", "all", "all")]
    assert (alone["units"], alone["difference"], alone["95 % interval"]) == ("1 seed", "-3.0", "–")
    assert "without a partner, left out: 1." in table.notes[0]
    assert differences(runs[runs["plugins"] == "base"]) is None
