"""Tables: what stands where, what is missing, and their three forms."""

import pandas as pd

from ufgir.reports import tables
from ufgir.reports.cells import cells_of
from ufgir.reports.comparisons import beside_paper
from ufgir.reports.table import Table


def test_table1_shows_missing_cells_and_uneven_seeds(runs):
    table = tables.table1(cells_of(runs))
    assert table.title == "Table I: evit, micro, 32 px", "the paper's cells are not there, so what was run"
    assert table.frame.to_numpy().tolist() == [
        ["evit", "0.1", "base", "12.0 ± 2.8", "50.0 (1)", "–"],
        ["evit", "0.1", "clca", "25.0 ± 7.1", "50.0 (1)", "–"],
        ["evit", "0.5", "base", "40.0 (1)", "60.0 (1)", "–"],
        ["evit", "0.5", "clca", "37.0 (1)", "–", "–"],
    ]
    assert list(table.frame.columns) == ["reducer", "keep rate", "plug-ins", "one", "two", "GMACs"]
    assert "–: no run" in table.notes[0] and table.notes[1] == "2 seeds; (n) marks a cell with n."


def test_no_reduction_comes_last(runs):
    none = runs[runs["keep_rate"] == "0.5"].assign(reducer="none", keep_rate="1")
    frame = tables.table1(cells_of(pd.concat([runs, none]))).frame
    assert frame["reducer"].tolist() == ["evit"] * 4 + ["none"] * 2


def test_missing_cells_are_named(runs):
    missing = tables.missing_cells(cells_of(runs))
    assert missing.values.to_numpy().tolist() == [["two", "micro", "evit", "0.5", 32, "clca"]]
    assert tables.missing_cells(cells_of(runs[runs["dataset"] == "one"])) is None


def test_one_table_for_each_data_set_and_backbone(runs):
    cells = cells_of(pd.concat([runs, runs.assign(backbone="other").iloc[:1]]))
    one, two = tables.by_axis(cells, "dataset", "backbone")
    assert (one.name, two.name) == ("dataset_one", "dataset_two")
    assert one.frame["other"].tolist() == ["10.0 (1)", "–", "–", "–"]
    by_backbone = tables.by_axis(cells, "backbone", "dataset")
    assert [table.name for table in by_backbone] == ["backbone_micro", "backbone_other"]


def test_beside_the_paper(runs):
    cells = cells_of(runs[runs["dataset"] == "one"])
    paper = cells.assign(mean=cells["mean"] - 1.5).drop(columns="variant").iloc[:3]
    paper = pd.concat([paper, paper.iloc[:1].assign(dataset="soygene")])
    table = beside_paper(cells, paper, "a source")
    rows = table.frame.set_index(["data set", "keep rate", "plug-ins"])
    assert rows.loc[("one", "0.1", "clca"), ["ours", "paper", "difference"]].tolist() == [
        "25.0 ± 7.1", "23.5 ± 7.1", "+1.5"]  # fmt: skip
    assert rows.loc[("one", "0.5", "clca"), ["ours", "paper", "difference"]].tolist() == ["37.0", "–", "–"]
    assert rows.loc[("soygene", "0.1", "base"), ["ours", "paper", "difference"]].tolist() == ["–", "10.5 ± 2.8", "–"]
    assert table.notes == ["3 cells in both, 1 of ours alone, 1 of the paper's alone (–: no run).", "Paper: a source"]


def test_three_forms_of_a_table(tmp_path):
    frame = pd.DataFrame({"name": ["a_b <i>"], "top-1 %": ["1.0 ± 0.5"]})
    Table("t", "A title", frame, pd.DataFrame({"x": [1]}), ["A note."]).write(tmp_path)
    assert (tmp_path / "t.md").read_text(encoding="utf-8").splitlines() == [
        "**A title**", "", "| name | top-1 % |", "| --- | ---: |", "| a_b <i> | 1.0 ± 0.5 |", "", "A note.",
    ]  # fmt: skip
    latex = (tmp_path / "t.tex").read_text(encoding="utf-8")
    assert r"name & top-1 \% \\" in latex and r"a\_b <i> & 1.0 $\pm$ 0.5 \\" in latex and r"{lr}" in latex
    assert (tmp_path / "t.csv").read_text() == "x\n1\n"
    html = Table("t", "A title", frame, frame).html()
    assert '<th scope="row">a_b &lt;i&gt;</th><td>1.0 ± 0.5</td>' in html
