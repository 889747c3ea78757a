"""The report as a folder: which sections it has, its files, and one page that needs no other file."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from ufgir.errors import UserError
from ufgir.report import figures, tables
from ufgir.report.cells import cells_of, main_variant, missing_runs, paper_cells, planned_runs, scored
from ufgir.report.collect import PROTOCOLS, SOURCE, Collected, ordered
from ufgir.report.figures import Plot
from ufgir.report.tables import METRICS, Table, counted

GENERATOR = '<meta name="generator" content="ufgir.report">'
PROTOCOL_TITLES = {
    "test": "Test images (protocol test)",
    "holdout": "Test images, epoch chosen on val (protocol holdout)",
    "cv": "Cross-validation (protocol cv)",
    "val": "Validation images (protocol val)",
}


@dataclass
class Section:
    """A part of the page: tables and figures, those with a backbone shown by choice."""

    title: str
    parts: list[Table | Plot | None]
    folded: bool = False
    folder: str = ""  # of the tables' files
    lines: list[str] = field(default_factory=list)
    level: int = 2
    prefix: str = ""  # of the files' names

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z0-9]", "-", self.title.lower())

    def write(self, folder: Path) -> None:
        """The files: what the page begins with in `folder` and `folder/figures`, other choices' tables in `tables`."""
        seen = set()
        for part in self.parts:
            name, is_choice = self.prefix + part.name, (type(part), part.name) in seen
            seen.add((type(part), part.name))
            if isinstance(part, Plot) and not is_choice:
                part.write(folder / "figures", name)
            elif isinstance(part, Table):
                place = folder / ("tables" if is_choice else self.folder)
                part.write(place, f"{name}_{part.backbone}" if is_choice else name)


def check_out(out: Path, runs: Path | None) -> None:
    """Only an earlier report may be replaced.

    Raises:
        UserError: `out` is something else.
    """
    if runs is not None and runs.is_dir() and runs.resolve().is_relative_to(out.resolve()):
        raise UserError(f"out={out}: holds the runs themselves. Name another folder.")
    if Path.cwd().is_relative_to(out.resolve()):
        raise UserError(f"out={out}: the current folder is inside, and would be replaced. Try {out / 'report'}.")
    page, is_empty = out / "index.html", out.is_dir() and not any(out.iterdir())
    is_report = page.is_file() and GENERATOR in page.read_text(encoding="utf-8", errors="replace")[:1000]
    if out.exists() and not is_empty and not is_report:
        raise UserError(f"out={out}: exists and is no earlier report. Remove it or name another folder.")


def make_report(collected: Collected, out: Path, *, source: str, compare: bool, sweeps: list[str]) -> Path:
    """Make all tables, figures and the page in a folder beside `out`, then put it there.

    Args:
        source: what the runs were read from.
        compare: whether to set the paper's results beside them.
        sweeps: names of planned grids, whose missing runs are listed.

    Returns:
        the path of the page.
    """
    place = out.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as temporary:
        draft = Path(temporary) / "report"
        (draft / "tables").mkdir(parents=True)
        (draft / "figures").mkdir()
        _write(collected, draft, source, compare, sweeps)
        if place.exists():
            place.rename(Path(temporary) / "earlier")
        draft.rename(place)
    return out / "index.html"


def _write(collected: Collected, folder: Path, source: str, compare: bool, sweeps: list[str]) -> None:
    runs, plans = collected.runs, {name: planned_runs(name) for name in sweeps}
    runs.to_csv(folder / "runs.csv", index=False)
    whole, lacking, sections = runs[~runs["limited"]], [], []
    protocols = ordered(whole["protocol"], PROTOCOLS)
    for protocol in protocols:
        rows, without = scored(runs, protocol)
        lacking.append(without.assign(protocol=protocol))
        if rows.empty:
            continue
        parts = _sections(rows, protocol, compare and protocol == "test")
        if len(protocols) > 1:
            sections.append(Section(PROTOCOL_TITLES[protocol], []))
            for part in parts:
                part.level = 3
        if protocol != protocols[0]:
            for part in parts:
                part.title, part.prefix = f"{part.title} ({protocol})", f"{protocol}_"
        sections += parts
    missing = missing_runs(whole, plans, collected.unfinished, pd.concat(lacking) if lacking else whole.iloc[:0])
    ends = {
        "Missing": tables.missing_table(missing),
        "Limited and debug runs": tables.limited_table(runs),
    }
    sections += [Section(title, [table]) for title, table in ends.items() if table]
    if collected.skipped:
        sections.append(Section("Not used", [], lines=collected.skipped))
    for section in sections:
        section.write(folder)
    named = [part.backbone for section in sections for part in section.parts if part.backbone]  # first that of Table I
    choices = ordered(named)
    loader = jinja2.PackageLoader("ufgir.report", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    environment.filters["markdown"] = _html
    axes = {"dataset": "data set", "backbone": "backbone", "reducer": "reducer", "keep_rate": "keep rate"}
    counts = [counted(whole[name].nunique(), title) for name, title in {**axes, "image_size": "image size"}.items()]
    kinds = [f"{(whole['protocol'] == name).sum():,} of protocol {name}" for name in protocols]
    page = environment.get_template("page.html").render(
        generator=Markup(GENERATOR), source=source, runs=runs, kinds=kinds, counts=counts, plans=plans,
        missing=int(missing["absent"].sum()), collected=collected, sections=sections,
        choices=choices if len(choices) > 1 else [], first=named[:1], is_compared=compare, markers=figures.MARKERS,
    )  # fmt: skip
    (folder / "index.html").write_text(page, encoding="utf-8")


def _sections(runs: pd.DataFrame, protocol: str, compare: bool) -> list[Section]:
    """The sections of a protocol in their order; those without content are left out."""
    metric, cells = METRICS[protocol], cells_of(runs)
    drawn = main_variant(cells, best=protocol == "val")
    backbones, datasets = ordered(cells["backbone"]), ordered(cells["dataset"])
    views = {"": drawn, **{name: drawn[drawn["backbone"] == name] for name in backbones[len(backbones) == 1 :]}}
    main = tables.table1(cells, metric)
    others = [tables.table1(cells, metric, name) for name in backbones if name != main.backbone]
    differences = tables.differences(runs, metric)
    best_lr = tables.best_learning_rates(runs) if protocol == "val" else None
    by_dataset = tables.by_axis(cells, "dataset", "backbone", metric) if len(backbones) > 1 else []
    by_backbone = tables.by_axis(cells, "backbone", "dataset", metric) if len(datasets) > 1 else []
    beside = tables.beside_paper(cells, paper_cells(), SOURCE) if compare else None
    costs = [draw(part, metric, name) for draw in (figures.plugins_against_cost, figures.reducers_against_cost)
             for name, part in views.items()]  # fmt: skip
    sections = [
        Section("Best learning rate", [best_lr]),
        Section("Table I", [main, *others]),
        Section("Accuracy against cost", costs),
        Section("Base against CLCA", [figures.difference_intervals(differences, metric), differences]),
        Section("Ablation of the plug-ins", [figures.ablation(drawn, metric)]),
        Section("Accuracy against measured speed", [figures.accuracy_against_speed(drawn, runs, metric)]),
        Section("Beside the paper", [beside]),
        Section("By data set", by_dataset, folded=True, folder="tables"),
        Section("By backbone", by_backbone, folded=True, folder="tables"),
        Section("All cells", [tables.all_cells(cells, metric)], folded=True),
    ]
    for section in sections:
        section.parts = [part for part in section.parts if part]
    return [section for section in sections if section.parts]


def _html(text: str) -> Markup:
    """A cell of a table: the best mean bold, its spread and its difference each with a class of their own."""
    text = re.sub(r"^\*\*(\S+)\*\*", r"<b>\1</b>", str(escape(text)))
    text = re.sub(r"± [\d.]+", r"<small>\g<0></small>", text)
    text = re.sub(r"\((\+\S+)\)$", r"<small class=up>\1</small>", text)
    return Markup(re.sub(r"\((-\S+)\)$", r"<small class=down>\1</small>", text))
