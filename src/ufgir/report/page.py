"""The report as a folder: which sections it has, its files, and one page that needs no other file."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from ufgir.errors import UserError
from ufgir.report import figures, tables
from ufgir.report.cells import cells_of, main_variant, scored
from ufgir.report.collect import PROTOCOLS, Collected, ordered
from ufgir.report.figures import Plot
from ufgir.report.paper import SOURCE, paper_cells, with_gmacs
from ufgir.report.plan import find_plans, missing_runs
from ufgir.report.tables import METRICS, Table

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
    parts: list[Table | Plot]
    folded: bool = False
    folder: str = ""  # of the tables' files
    lines: list[str] = field(default_factory=list)
    level: int = 2

    @property
    def anchor(self) -> str:
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


def check_out(out: Path, runs: Path) -> None:
    """Only an earlier report may be replaced.

    Raises:
        UserError: `out` is something else.
    """
    if runs.is_dir() and runs.resolve().is_relative_to(out.resolve()):
        raise UserError(f"out={out}: holds the runs themselves. Name another folder.")
    if Path.cwd().is_relative_to(out.resolve()):
        raise UserError(
            f"out={out}: the current folder is inside, and a report replaces its folder. Try {out / 'report'}."
        )
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        page = out / "index.html"
        if not (page.is_file() and GENERATOR in page.read_text(encoding="utf-8", errors="replace")[:1000]):
            raise UserError(f"out={out}: exists and is no earlier report. Remove it or name another folder.")


def make_report(collected: Collected, out: Path, *, source: str, compare: bool, sweeps: list[str]) -> Path:
    """Make all tables, figures and the page in a folder beside `out`, then put it there.

    Args:
        source: what the runs were read from.
        compare: whether to set the paper's results beside them.
        sweeps: names of planned grids; none: found by the runs.

    Returns:
        the path of the page.
    """
    place = out.resolve()
    draft, earlier = (place.with_name(f".{place.name}.{os.getpid()}{end}") for end in ("", ".old"))
    try:
        (draft / "tables").mkdir(parents=True)
        (draft / "figures").mkdir()
        _write(collected, draft, source, compare, sweeps)
        if place.exists():
            place.rename(earlier)
        draft.rename(place)
    finally:
        if earlier.exists() and not place.exists():
            earlier.rename(place)
        for folder in (draft, earlier):
            shutil.rmtree(folder, ignore_errors=True)
    return out / "index.html"


def _write(collected: Collected, folder: Path, source: str, compare: bool, sweeps: list[str]) -> None:
    runs, uncounted = with_gmacs(collected.runs)
    texts = [collected.variants.get(letter, "") for letter in runs["variant"]]
    runs.assign(variant=texts).to_csv(folder / "runs.csv", index=False)
    if len(collected.gradients):
        collected.gradients.to_csv(folder / "gradients.csv", index=False)
    whole, lacking, sections = runs[~runs["limited"]], {}, []
    protocols = ordered(whole["protocol"], PROTOCOLS)
    for protocol in protocols:
        rows, lacking[protocol] = scored(runs, protocol)
        if rows.empty:
            continue
        cells = cells_of(rows)
        parts = _sections(rows, cells, collected, protocol)
        if compare and protocol == "test" and (beside := tables.beside_paper(cells, paper_cells(), SOURCE)):
            place = next(number for number, part in enumerate(parts) if part.folded)
            parts.insert(place, Section("Beside the paper", [beside]))
        if len(protocols) > 1:
            sections.append(Section(PROTOCOL_TITLES[protocol], []))
            for part in parts:
                part.level, part.title = 3, part.title if protocol == protocols[0] else f"{part.title} ({protocol})"
        for part in parts if protocol != protocols[0] else ():
            for item in part.parts:
                item.name = f"{protocol}_{item.name}"
        sections += parts
    plans = find_plans(sweeps, whole)
    missing = missing_runs(whole, plans, collected.unfinished, lacking)
    ends = {"Missing": tables.missing_table(missing), "Variants": tables.variant_table(collected.variants),
            "Limited and debug runs": tables.limited_table(runs)}  # fmt: skip
    sections += [Section(title, [table]) for title, table in ends.items() if table]
    if unused := [*collected.skipped, *uncounted]:
        sections.append(Section("Not used", [], lines=unused))
    for section in sections:
        _write_parts(section, folder)
    lead = _lead(collected, runs, source, plans, missing)
    if compare and not any(section.title == "Beside the paper" for section in sections):
        lead.append(
            "None of these runs is of a data set of the paper and of protocol test, so there is nothing to compare."
        )
    choices = ordered([part.backbone for section in sections for part in section.parts if part.backbone])
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ufgir.report", "."), autoescape=True, trim_blocks=True
    )
    environment.filters["markdown"] = _html
    page = environment.get_template("page.html").render(
        title=f"Report of {source}", lead=lead, sections=sections,
        choices=choices if len(choices) > 1 else [], generator=Markup(GENERATOR),
    )  # fmt: skip
    (folder / "index.html").write_text(page, encoding="utf-8")


def _write_parts(section: Section, folder: Path) -> None:
    """The files of a section: what the page begins with beside it, tables of other choices below `tables`."""
    seen = set()
    for part in section.parts:
        is_choice, name = (type(part), part.name) in seen, part.name
        seen.add((type(part), name))
        if isinstance(part, Table):
            part.name = f"{name}_{part.backbone}" if is_choice else name
            part.write(folder / ("tables" if is_choice else section.folder))
            part.name = name
        elif not is_choice:
            part.write(folder / "figures")


def _sections(runs: pd.DataFrame, cells: pd.DataFrame, collected: Collected, protocol: str) -> list[Section]:
    """The sections of a protocol in their order; those without content are left out."""
    metric = METRICS[protocol]
    drawn = main_variant(cells, best=protocol == "val")
    backbones = ordered(cells["backbone"])
    views = ["", *(backbones if len(backbones) > 1 else [])]
    main = tables.table1(cells, metric)
    others = [tables.table1(cells, metric, name) for name in backbones if name != main.backbone]
    differences = tables.differences(runs, metric)
    by_backbone = {name: drawn[drawn["backbone"] == name] if name else drawn for name in views}
    best_lr = tables.best_learning_rates(cells, runs, collected.variants) if protocol == "val" else None
    sections = [
        Section("Best learning rate", [best_lr]),
        Section("Table I", [main, *others]),
        Section("Accuracy against cost", [
            *(figures.plugins_against_cost(part, metric, name) for name, part in by_backbone.items()),
            *(figures.reducers_against_cost(part, metric, name) for name, part in by_backbone.items()),
        ]),
        Section("Base against CLCA", [figures.difference_intervals(differences, metric), differences]),
        Section("Ablation of the plug-ins", [figures.ablation(drawn, metric)]),
        Section("Gradients", [figures.gradients_by_step(runs, collected.gradients)]),
        Section("Accuracy against measured speed", [figures.accuracy_against_speed(drawn, runs, metric)]),
        Section("By data set", tables.by_axis(cells, "dataset", "backbone", metric), True, "tables"),
        Section("By backbone", tables.by_axis(cells, "backbone", "dataset", metric), True, "tables"),
        Section("All cells", [tables.all_cells(cells, metric)], folded=True),
    ]  # fmt: skip
    for section in sections:
        section.parts = [part for part in section.parts if part is not None]
    needless = {"By data set": len(backbones) == 1, "By backbone": cells["dataset"].nunique() == 1}
    return [section for section in sections if section.parts and not needless.get(section.title)]


def _lead(collected: Collected, runs: pd.DataFrame, source: str, plans: dict, missing: pd.DataFrame) -> list[str]:
    """What was read, what a cell is, what is missing and where the GMACs come from."""
    whole = runs[~runs["limited"]]
    counts = ", ".join(
        f"{whole[name].nunique()} {title}{'s' * (whole[name].nunique() != 1)}"
        for name, title in (("dataset", "data set"), ("backbone", "backbone"), ("reducer", "reducer"),
                            ("keep_rate", "keep rate"), ("image_size", "image size"))
    )  # fmt: skip
    kinds = [
        f"{(whole['protocol'] == name).sum():,} of protocol {name}" for name in ordered(whole["protocol"], PROTOCOLS)
    ]
    kinds += [f"{len(runs) - len(whole):,} limited or debug runs"] if len(runs) > len(whole) else []
    lines = [
        f"{len(runs):,} finished runs from {source} ({', '.join(kinds)}): {counts}.",
        "A cell is a data set, backbone, reducer, keep rate, image size and plug-in setting; its mean is over seeds.",
    ]
    if plans:
        planned = ", ".join(f"{name} ({len(plan):,} runs)" for name, plan in plans.items())
        absent = int(missing["absent"].sum())
        lines.append(f"Planned: {planned}. " + (f"{absent:,} missing, see the end." if absent else "None is missing."))
    elif len(missing):
        lines.append(f"{int(missing['absent'].sum()):,} runs are missing, see the end.")
    if collected.variants:
        lines.append(
            "Letters are variants: settings that no column shows, explained at the end. Figures show of each cell the "
            "variant with the most runs, then the first letter; those of validation the most accurate one."
        )
    if (runs["gmacs_source"] == "recount").any():
        lines.append(
            "GMACs are recounted in models built for it, attention included; those of the source are not used. For "
            "ATS, "
            "whose cost depends on weights and images, they hold for untrained weights and noise."
        )
    if runs["gmacs"].isna().any():
        lines.append(f"GMACs are missing for {runs['gmacs'].isna().sum():,} runs; the last section says why.")
    if collected.skipped:
        lines.append(f"{len(collected.skipped):,} inputs were not used; the last section names them.")
    return lines


def _html(text: str) -> Markup:
    """A cell of a table: the mean, its spread and its difference each with a class of their own."""
    mean, plus, spread = str(escape(text)).partition(" ± ")
    spread, paren, difference = spread.partition(" (") if plus else ("", "", "")
    if not plus:
        mean, paren, difference = (
            mean.partition(" (") if text.endswith(")") and text[0] in "*0123456789" else (mean, "", "")
        )
    mean = f"<b>{mean.strip('*')}</b>" if mean.startswith("**") else mean
    sign = "up" if difference.startswith("+") else "down"
    return Markup(
        mean
        + (f" <small>± {spread}</small>" if plus else "")
        + (f" <small class={sign}>{difference[:-1]}</small>" if paren else "")
    )
