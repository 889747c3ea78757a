"""The command: what it writes, what it refuses, and a page that needs nothing else."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from report.fake_runs import write_messy, write_run
from ufgir.cli import run_command
from ufgir.report import __main__ as command
from ufgir.report.collect import read_csv, read_folders
from ufgir.report.figures import MARKERS, over_backbones, plugins_against_cost, reducers_against_cost
from ufgir.report.tables import beside_paper, table1


def run(*words: str) -> int:
    return run_command(command.main, list(words), usage=command.__doc__)


@pytest.fixture(scope="module")
def messy(tmp_path_factory) -> Path:
    """The report of a messy folder, in `new/report` beside its `runs`."""
    folder = tmp_path_factory.mktemp("messy")
    write_messy(folder / "runs")
    assert run(f"runs={folder / 'runs'}", f"out={folder / 'new' / 'report'}", "compare=paper") == 3
    return folder / "new" / "report"


def rows_of(file: Path) -> list[list[str]]:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def headings(page: str) -> list[str]:
    return re.findall(r"<h[23]>([^<]+)", page)


def test_table1(messy):
    rows = rows_of(messy / "table1.md")
    assert rows[:3] == [
        ["reducer", "keep rate", "plug-ins", "variant", "leaves", "GMACs"],
        ["evit", "0.1", "base", "", "36.7 ± 1.1", "0.160"],
        ["evit", "0.1", "clca", "", "**48.7** ± 1.1 (+12.0)", "0.280"],
    ]
    assert [row[:4] for row in rows[3:6]] == [["evit", "0.5", *words] for words in (
        ["base", "optim.lr=0.0001"], ["clca", "optim.lr=0.0001"], ["clca", "optim.lr=0.0005"])]  # fmt: skip
    assert [row[0] for row in rows[-2:]] == ["none", "none"]
    latex = (messy / "table1.tex").read_text(encoding="utf-8")
    assert r"\textbf{48.7} $\pm$ 1.1 (+12.0)" in latex and r"\toprule" in latex


def test_protocols_are_named_and_only_test_numbers_are_called_test(messy):
    assert rows_of(messy / "cv_table1.md")[1][3] == "26.0"
    for name in ("val_table1", "val_cells", "val_best_lr", "cv_table1", "cv_cells"):
        assert "test" not in (messy / f"{name}.md").read_text(encoding="utf-8").lower()
    best = rows_of(messy / "val_best_lr.md")
    assert best[0][-4:] == ["best rate", "1e-05", "0.0001", "0.0005"]
    assert {tuple(row[-4:]) for row in best[1:]} == {("0.0005", "30.0", "41.0", "**47.5**")}
    assert {row[0] for row in rows_of(messy / "limited.md")[1:]} == {"debug", "debug-val"}
    assert "99.0" not in (messy / "cells.md").read_text(encoding="utf-8")
    assert {row[6] for row in rows_of(messy / "val_cells.md")[1:]} == {
        "optim.lr=1e-05", "optim.lr=0.0001", "optim.lr=0.0005"}  # fmt: skip


def test_the_page_needs_no_other_file_and_leaves_empty_sections_out(messy):
    page = (messy / "index.html").read_text(encoding="utf-8")
    targets = re.findall(r"<[^>]* (?:href|src|srcset|data|action)=[\"']?([^\"'>]*)", page)
    ids, alts = re.findall(r'id="?([\w-]+)', page), re.findall(r'<img[^>]* alt="([^"]*)"', page)
    assert all(target.startswith(("#", "data:image/svg+xml,")) for target in targets) and len(targets) > 20
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
    assert len(ids) == len(set(ids)) and all(len(alt) > 40 for alt in alts)
    assert not re.search(r"url\((?!%23)|@import|<link|<iframe", page) and 'name="viewport"' in page
    sections = {"Table I", "Best learning rate (val)", "Missing", "Limited and debug runs", "Not used"}
    assert sections <= set(headings(page)) and "Beside the paper" not in headings(page)
    assert "CUDA out of memory" in page and "nothing to compare" in page
    assert not list(messy.parent.glob(".*")), "no draft is left"


def test_a_report_is_replaced_by_the_same_files(rows, write, tmp_path, capsys):
    first, out = tmp_path / "first", tmp_path / "report"
    file = write(rows.iloc[:5].assign(gmacs=float("nan"), num_classes=""))
    assert run(f"runs={file}", f"out={first}") == 0
    shutil.copytree(first, out)
    (out / "stale.md").touch()
    assert run(f"runs={file}", f"out={out}") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {out / 'index.html'}"
    files = [{file.relative_to(top): file.read_bytes() for file in top.rglob("*.*")} for top in (first, out)]
    assert files[0] == files[1]


def test_the_runs_of_a_report_are_read_as_they_were(messy):
    ours, again = read_folders(messy.parents[1] / "runs"), read_csv(messy / "runs.csv")
    columns = ["run", "protocol", "limited", "variant", "seed", "fold", "test_top1", "val_top1", "gmacs", "device"]
    pd.testing.assert_frame_equal(ours.runs[columns], again.runs[columns], check_dtype=False)


def test_one_run_is_enough(tmp_path):
    write_run(tmp_path / "runs", "only", 50.0, protocol="val")
    assert run(f"runs={tmp_path / 'runs'}", f"out={tmp_path / 'report'}") == 0
    assert rows_of(tmp_path / "report" / "table1.md")[1][:4] == ["evit", "0.5", "base", "50.0"]
    shown = headings((tmp_path / "report" / "index.html").read_text())
    assert {"Table I", "All cells"} <= set(shown) and not {"Base against CLCA", "Missing"} & set(shown)


def test_names_are_text_whatever_they_are(rows, write, tmp_path):
    names = {"one": "<script>alert(1)</script>", "two": "$x_{$ é"}
    frame = rows.replace({"dataset": names, "reducer": {"evit": '"><img src=x>'}})
    frame = frame.assign(backbone="../a/b|c", num_classes="")
    assert run(f"runs={write(frame)}", f"out={tmp_path / 'out' / 'report'}") == 0
    page = (tmp_path / "out" / "report" / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "<img src=x>" not in page and "&lt;script&gt;" in page
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report"}


def test_nothing_but_an_earlier_report_is_replaced(messy, rows, write, tmp_path, monkeypatch, capsys):
    file = write(rows)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").touch()
    assert run(f"runs={file}", f"out={mine}") == 2 and f"out={mine}" in capsys.readouterr().err
    assert run(f"runs={mine}", f"out={tmp_path}") == 2 and f"out={tmp_path}" in capsys.readouterr().err
    inside = tmp_path / "inside"
    shutil.copytree(messy, inside)  # an earlier report, which elsewhere would be replaced
    monkeypatch.chdir(inside)
    for out in (".", "..", "../inside", "tables/.."):
        assert run(f"runs={file}", f"out={out}") == 2 and f"out={out}" in capsys.readouterr().err
    assert [path.name for path in mine.iterdir()] == ["thesis.tex"] and (inside / "index.html").is_file()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["runs=rnus.csv", "out=x"], ["runs=rnus.csv", "runs.csv"]),
        (["runs=runs.csv", "out=x", "compare=papr"], ["compare=papr", "paper"]),
        (["runs=runs.csv", "out=x", "sweep=paper_449"], ["sweep=paper_449", "paper_448"]),
        (["runs=runs.csv"], ["out"]),
        (["rums=runs.csv", "out=x"], ["rums=runs.csv"]),
    ],
)
def test_a_mistake_leaves_nothing(rows, write, words, parts, monkeypatch, capsys):
    monkeypatch.chdir(write(rows).parent)
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert all(part in error for part in parts)
    assert [file.name for file in Path.cwd().iterdir()] == ["runs.csv"]


def cells(*rows: tuple) -> pd.DataFrame:
    """Cells (backbone, reducer, plugins, keep_rate, mean)."""
    frame = pd.DataFrame(rows, columns=["backbone", "reducer", "plugins", "keep_rate", "mean"])
    gmacs = frame["keep_rate"].astype(float)
    return frame.assign(std=1.0, gmacs=gmacs, dataset="one", image_size=32, variant="", n=1)


def test_points_are_means_over_the_same_backbones():
    means = {("a", "base"): 10, ("b", "base"): 30, ("a", "clca"): 10, ("b", "clca"): 30, ("c", "base"): 90}
    some = cells(*((name, "evit", plugins, "0.1", value) for (name, plugins), value in means.items()))
    points, who = over_backbones(some, ["plugins", "keep_rate"])
    assert points["mean"].tolist() == [20, 20] and who == "2 backbones", "c has no clca"
    assert points["std"].isna().all() and not points["partial"].any()


def test_every_reducer_that_has_runs_is_drawn():
    rows = [(name, "evit", "base", rate, 10) for name in "abc" for rate in ("0.1", "0.5")]
    few = cells(*rows, ("a", "tome", "base", "0.5", 50), ("b", "mine", "base", "0.7", 60))
    points, who = over_backbones(few, ["reducer", "keep_rate"])
    assert points.set_index("reducer")["partial"].to_dict() == {"evit": False, "tome": True, "mine": True}
    assert who == "3 backbones"
    plot = reducers_against_cost(few, "test top-1")
    assert {label for label, *_ in plot.legend} == {"evit", "tome", "mine"}
    assert len(plugins_against_cost(few, "test top-1").panels) == 1


def test_more_image_sizes_than_markers():
    sizes = range(32, 416, 32)
    some = [cells(("a", "evit", "base", "0.5", 10)).assign(image_size=size, gmacs=size) for size in sizes]
    assert len(plugins_against_cost(pd.concat(some), "test top-1").legend) == len(sizes) > len(MARKERS)


def test_table1_without_base_or_of_a_backbone_without_cells():
    some = cells(("a", "evit", "clca", "0.1", 10), ("b", "tome", "clca", "0.5", 20))
    assert table1(some, "test top-1", "c") is None
    assert table1(some, "test top-1", "b").title == "Table I: tome, b, 32 px"


def test_beside_the_paper():
    ours = cells(("a", "evit", "clca", "0.1", 25), ("a", "evit", "base", "0.1", 20))
    paper = cells(("a", "evit", "clca", "0.1", 23.5), ("b", "evit", "base", "0.1", 20))
    table = beside_paper(ours, paper, "a source")
    assert table.frame[["backbone", "plug-ins", "ours", "paper", "difference"]].to_numpy().tolist() == [
        ["a", "base", "20.0 ± 1.0", "–", "–"], ["a", "clca", "25.0 ± 1.0", "23.5 ± 1.0", "+1.5"],
        ["b", "base", "–", "20.0 ± 1.0", "–"]]  # fmt: skip
    assert beside_paper(ours, paper.assign(dataset="two"), "a source") is None


@pytest.mark.slow
def test_report_of_the_published_runs(tmp_path):
    assert run("runs=published", f"out={tmp_path / 'out'}", "compare=paper", "sweep=paper_224,paper_448") == 0
    table = rows_of(tmp_path / "out" / "table1.md")
    assert table[0][3:6] == ["cotton80", "soyageing", "soyglobal"]
    assert table[3][:5] == ["evit", "0.1", "clca", "**55.6** ± 5.6 (+39.4)", "87.4 ± 0.3 (+19.4)"]
    assert len(rows_of(tmp_path / "out" / "missing.md")) == 4
    comparison = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "1,919 cells in both, 0 of ours alone, 0 of the paper's alone" in comparison
