"""The authors' runs as they ship, and the GMACs that are counted for runs without a count."""

import pandas as pd
import pytest

from ufgir.report.collect import read_csv
from ufgir.report.paper import paper_cells, published, recount_gmacs, with_gmacs

TABLE1 = {"0.1": (55.6, 87.4, 61.1), "0.7": (67.8, 88.3, 58.2)}  # clca of evit on deit3_b at 448 px
COSTS = {  # GMACs of ViT-B/16 with EViT at 0.1, 0.25, 0.5, 0.7 and without reduction, as the paper has them
    (448, "base"): (24.8, 28.6, 38.2, 50.2, 78.5), (448, "clca"): (25.2, 29.0, 38.8, 50.9, 79.5),
    (224, "base"): (5.64, 6.53, 8.82, 11.6, 17.6), (224, "clca"): (5.96, 6.97, 9.32, 12.2, 18.4),
}  # fmt: skip


@pytest.fixture(scope="module")
def cells():
    names = ["reducer", "backbone", "image_size", "plugins", "keep_rate", "dataset"]
    return paper_cells().set_index(names).sort_index()


def test_the_shipped_runs_are_the_papers(cells):
    assert (len(cells), cells["n"].sum()) == (1919, 4458)
    for rate, expected in TABLE1.items():
        row = cells.loc[("evit", "deit3_b", 448, "clca", rate), "mean"]
        assert tuple(row[["cotton80", "soyageing", "soyglobal"]].round(1)) == expected


@pytest.mark.parametrize(("size", "plugins"), COSTS)
def test_the_shipped_costs_are_the_papers(cells, size, plugins):
    for rate, expected in zip(("0.1", "0.25", "0.5", "0.7", "1"), COSTS[size, plugins], strict=True):
        reducer = "none" if rate == "1" else "evit"
        costs = cells.xs((reducer, size, plugins, rate), level=[0, 2, 3, 4]).xs("soygene", level="dataset")["gmacs"]
        assert len(costs) == 9 and costs.to_numpy() == pytest.approx(expected, rel=0.004)


@pytest.mark.parametrize(
    "cell", [("sit", "vit_b_mocov3", 224, "cla", "0.25"), ("tome", "deit3_b", 224, "base", "0.25")]
)
def test_the_shipped_costs_are_counted_again(cells, cell):
    reducer, backbone, size, plugins, rate = cell
    count = recount_gmacs(backbone, reducer, rate, size, plugins, 200)
    assert cells.loc[(*cell, "soylocal"), "gmacs"] == pytest.approx(count, abs=1e-4)


def test_gmacs_are_those_of_the_run_recounted_or_missing(rows, write):
    runs = read_csv(write(rows.assign(gmacs=9.99))).runs
    runs.loc[0, "gmacs_source"] = "run"
    runs.loc[1, "num_classes"] = float("nan")
    runs.loc[2, "reducer"] = "evti"
    runs.loc[3, "plugins"] = "clac"
    counted, errors = with_gmacs(runs)
    assert counted["gmacs"][0] == 9.99, "counted in the run itself"
    assert counted["gmacs"][4:].max() < 0.1, "the file's own column is not believed"
    assert counted["gmacs"][1:4].isna().all()
    assert counted["gmacs_source"].tolist() == ["run", "", "", ""] + ["recount"] * 5
    assert len(errors) == 3 and all(any(word in line for line in errors) for word in ("num_classes", "evti", "clac"))


def test_what_the_shipped_table_has_is_not_counted_again(monkeypatch):
    monkeypatch.setattr("ufgir.report.paper.recount_gmacs", None)
    runs = published().runs
    again, errors = with_gmacs(runs.assign(gmacs=float("nan"), gmacs_source=""))
    pd.testing.assert_series_equal(again["gmacs"], runs["gmacs"])
    assert not errors
