"""The paper's numbers: those that are shipped, and those made of the authors' run table where it is at hand."""

from pathlib import Path

import pandas as pd
import pytest

from ufgir.cli import run_command
from ufgir.report import report
from ufgir.reports.cells import cells_of
from ufgir.reports.collect_csv import read_runs
from ufgir.reports.paper import make, paper_cells, paper_source
from ufgir.reports.recount import recount

PUBLISHED = Path(__file__).parents[3] / "shared" / "paper" / "published_runs.csv"
TABLE1 = {"0.1": (55.6, 87.4, 61.1), "0.7": (67.8, 88.3, 58.2)}  # clca of evit on deit3_b at 448 px
COSTS = {  # GMACs of ViT-B/16 with EViT, as the paper has them
    (448, "base"): (24.8, 28.6, 38.2, 50.2, 78.5), (448, "clca"): (25.2, 29.0, 38.8, 50.9, 79.5),
    (224, "base"): (5.64, 6.53, 8.82, 11.6, 17.6), (224, "clca"): (5.96, 6.97, 9.32, 12.2, 18.4),
}  # fmt: skip


@pytest.fixture(scope="module")
def cells():
    names = ["reducer", "backbone", "image_size", "plugins", "keep_rate", "dataset"]
    return paper_cells().set_index(names).sort_index()


def test_the_shipped_cells_are_the_paper(cells):
    assert (len(cells), cells["n"].sum()) == (1919, 4458)
    for rate, expected in TABLE1.items():
        row = cells.loc[("evit", "deit3_b", 448, "clca", rate), "mean"]
        assert tuple(row[["cotton80", "soyageing", "soyglobal"]].round(1)) == expected
    assert "arXiv 2501.00243" in paper_source() and "4,458 runs" in paper_source()


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
    count = recount(backbone, reducer, rate, size, plugins, 200)
    assert cells.loc[(*cell, "soylocal"), "gmacs"] == pytest.approx(count, abs=1e-4)


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the authors' run table is not beside the checkout")
def test_published_means(cells):
    ours = cells_of(read_runs(PUBLISHED).runs)
    both = ours.merge(cells.reset_index(), on=list(cells.index.names), suffixes=("", "_shipped"))
    assert len(both) == len(ours) == len(cells)
    for name in ("n", "mean", "std"):
        pd.testing.assert_series_equal(both[name], both[f"{name}_shipped"], check_names=False, atol=1e-4)


def test_the_file_is_made_where_it_is_said(csv_file, monkeypatch):
    csv_file.write_text(csv_file.read_text().replace("\none,", "\ncotton80,").replace("\ntwo,", "\nsoyageing,"))
    monkeypatch.setenv("HOME", str(csv_file.parent))
    assert run_command(make, ["runs=~/runs.csv", "out=~/cells.csv"]) == 0
    made = pd.read_csv(csv_file.parent / "cells.csv", comment="#")
    assert len(made) == 7 and made["gmacs"].notna().all()


def test_where_it_cannot_be_written_is_told_before_anything_is_counted(csv_file, monkeypatch, capsys):
    monkeypatch.setattr("ufgir.reports.paper.recount", None)
    assert run_command(make, [f"runs={csv_file}", f"out={csv_file.parent / 'nowhere' / 'cells.csv'}"]) == 2
    assert "there is no folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the authors' run table is not beside the checkout")
def test_report_of_the_published_runs(tmp_path):
    assert run_command(report, [f"runs={PUBLISHED}", f"out={tmp_path / 'out'}", "compare=paper"]) == 0
    lines = (tmp_path / "out" / "table1.md").read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    for rate, expected in TABLE1.items():
        (row,) = [row for row in table if row[:3] == ["evit", rate, "clca"]]
        assert tuple(float(cell.split()[0]) for cell in row[3:6]) == expected
    assert table[0][3:6] == ["cotton80", "soyageing", "soyglobal"]
    comparison = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "1,919 cells in both, 0 of ours alone, 0 of the paper's alone" in comparison
    runs = pd.read_csv(tmp_path / "out" / "runs.csv")
    assert runs["gmacs"].notna().all() and (runs["gmacs_source"] == "recount").all()
