"""The command: what it writes, what it refuses, and a page that needs nothing else."""

import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from ufgir.cli import run_command
from ufgir.report import report
from ufgir.reports.collect_csv import read_runs

TABLES = ("table1", "cells", "differences", "missing", "comparison")
FIGURES = {"accuracy_gmacs", "reducers", "ablation", "differences"}


class Page(HTMLParser):
    """What a page links to, and the ids that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.images = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.targets += [named[key] for key in ("href", "src", "srcset", "data", "action") if key in named]
        self.ids += [named["id"]] if "id" in named else []
        if tag == "img":
            self.images += 1
            assert len(named["alt"]) > 40
        assert tag not in ("script", "link", "iframe")


def run(*words: str) -> int:
    return run_command(report, words)


@pytest.fixture(scope="module")
def made(rows, tmp_path_factory) -> Path:
    """A report beside the paper, made once; its runs lie in `runs.csv` beside it."""
    folder = tmp_path_factory.mktemp("made")
    rows.to_csv(folder / "runs.csv", index=False)
    assert run(f"runs={folder / 'runs.csv'}", f"out={folder / 'new' / 'report'}", "compare=paper") == 0
    return folder / "new" / "report"


def test_a_report_of_a_csv(made):
    out = made
    for name in TABLES:
        assert all((out / f"{name}.{form}").stat().st_size for form in ("md", "csv", "tex"))
    assert {file.stem for file in (out / "figures").glob("*.png")} == FIGURES
    assert {file.stem for file in (out / "figures").glob("*.svg")} == FIGURES
    assert "12.0 ± 2.8" in (out / "table1.md").read_text(encoding="utf-8")
    assert {file.name for file in out.parent.iterdir()} == {"report"}, "no draft is left"
    again = read_runs(out / "runs.csv").runs
    assert again["gmacs_source"].unique().tolist() == ["recount"] and again["gmacs"].notna().all()


def test_the_page_needs_no_other_file(made):
    text = (made / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.images == len(FIGURES)
    assert all(target.startswith(("#", "data:image/svg+xml;base64,")) for target in page.targets)
    assert {target[1:] for target in page.targets if target.startswith("#")} <= set(page.ids)
    assert "url(" not in text and "@import" not in text and 'name="viewport"' in text
    assert "No gradients by step" in text and "Every input was used." in text and "Ours beside the paper" in text


def test_run_folders_with_some_skipped(copy_run, tmp_path, capsys):
    for plugins, top1 in (("base", 30.0), ("clca", 40.0)):
        for seed in (1, 10):
            changes = {"seed": seed, "test_top1": top1 + seed}
            if plugins == "base":
                changes["config.plugins"] = {"name": "base", "cache": None, "head": {"name": "linear"}}
            copy_run(f"{plugins}{seed}", changes)
    copy_run("broken", {"status": "failed"})
    out = tmp_path / "report"
    assert run(f"runs={tmp_path / 'outputs'}", f"out={out}") == 3
    assert "skipped: broken: failed" in capsys.readouterr().err
    assert {"gradients", "speed"} <= {file.stem for file in (out / "figures").glob("*.svg")}
    differences = pd.read_csv(out / "differences.csv")
    assert (differences["mean"] == 10).all() and (differences["wins"] == 2).all()
    assert sorted(pd.read_csv(out / "gradients.csv")["run"].unique()) == ["base1", "base10", "clca1", "clca10"]
    assert "broken: failed" in (out / "index.html").read_text(encoding="utf-8")


def test_an_earlier_report_is_replaced_by_the_same_files(made, tmp_path, capsys):
    out = tmp_path / "report"
    shutil.copytree(made, out)
    (out / "stale.md").touch()
    assert run(f"runs={made.parents[1] / 'runs.csv'}", f"out={out}", "compare=paper") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {out / 'index.html'}"
    files = [{file.relative_to(top): file.read_bytes() for file in top.rglob("*.*")} for top in (made, out)]
    assert files[0] == files[1]


def test_nothing_but_an_earlier_report_is_replaced(csv_file, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").touch()
    assert [run(f"runs={csv_file}", f"out={mine}"), run(f"runs={mine}", f"out={tmp_path}")] == [2, 2]
    told = capsys.readouterr().err
    assert "is no earlier report" in told and "holds the runs themselves" in told
    assert [file.name for file in mine.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("out", [".", "..", "../inside", "tables/.."])
def test_the_folder_that_one_is_in_is_not_replaced(out, csv_file, made, monkeypatch, capsys):
    inside = csv_file.parent / "inside"
    shutil.copytree(made, inside)  # an earlier report, which elsewhere would be replaced
    monkeypatch.setattr("ufgir.report.read_runs", None)  # what comes before is before any work
    monkeypatch.chdir(inside)
    assert run(f"runs={csv_file}", f"out={out}") == 2
    assert f"out={out} is the folder that you are in, or is above it" in capsys.readouterr().err
    assert (inside / "index.html").is_file() and csv_file.is_file()


def test_a_report_is_replaced_by_whatever_path_it_is_named(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "report")
    (tmp_path / "link").symlink_to("report")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report" / "stale.md").touch()
    assert run(f"runs={made.parents[1] / 'runs.csv'}", "out=link/tables/..") == 0
    assert not (tmp_path / "report" / "stale.md").exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link", "report"] and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs=rnus.csv", "out=x"], "runs=rnus.csv does not exist. Did you mean runs=runs.csv?"),
        (["runs=runs.csv", "out=x", "compare=papr"], "compare=papr is not understood"),
        (["runs=runs.csv"], "out= is missing"),
        (["rums=runs.csv", "out=x"], "Did you mean runs?"),
        (["runs=empty", "out=x"], "holds no run folder"),
    ],
)
def test_a_mistake_is_told_and_leaves_nothing(csv_file, words, message, monkeypatch, capsys):
    monkeypatch.chdir(csv_file.parent)
    Path("empty").mkdir()
    assert run(*words) == 2
    assert message in capsys.readouterr().err
    assert sorted(file.name for file in Path.cwd().iterdir()) == ["empty", "runs.csv"]
