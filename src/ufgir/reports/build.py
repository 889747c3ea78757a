"""The report as a folder, written whole or not at all."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ufgir.files import saving
from ufgir.reports import figures, run_figures, tables
from ufgir.reports.cells import cells_of
from ufgir.reports.collected import Collected
from ufgir.reports.comparisons import beside_paper, differences
from ufgir.reports.drawing import Picture
from ufgir.reports.gmacs import with_gmacs
from ufgir.reports.layout import DATASETS
from ufgir.reports.page import GENERATOR, Section, page
from ufgir.reports.paper import paper_cells, paper_source
from ufgir.reports.table import Table


@dataclass
class Contents:
    """All tables and figures of a report, and the sections that show them in their order."""

    runs: pd.DataFrame
    gradients: pd.DataFrame
    main: list[Table]
    by_axis: list[Table]
    pictures: list[Picture]
    sections: list[Section]


def output_faults(out: Path, runs: Path) -> list[str]:
    """Why a report cannot be written to `out`: only an earlier report may be replaced."""
    if runs.is_dir() and runs.resolve().is_relative_to(out.resolve()):
        return [f"out={out} holds the runs themselves; name another folder."]
    if Path.cwd().is_relative_to(out.resolve()):
        return [f"out={out} is the folder that you are in, or is above it, and a report replaces its folder; name "
                f"another one, such as out={out / 'report'}."]
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return []
    earlier = out / "index.html"
    if earlier.is_file() and GENERATOR in earlier.read_text(encoding="utf-8", errors="replace")[:1000]:
        return []
    return [f"out={out} exists and is no earlier report; remove it or name another folder."]


def make_report(collected: Collected, out: Path, *, source: str, with_paper: bool) -> Path:
    """Make all tables, figures and the page, then put them at `out`.

    Args:
        source: what the runs were read from, for the reader.
        with_paper: set the paper's results beside them.

    Returns:
        the path of the page.

    Raises:
        UserError, RunFailed: `out` cannot be written, see `saving`.
    """
    contents, lead = contents_of(collected, source, with_paper)
    place = out.resolve()  # for a folder beside it: `here/..` has another name than it says
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    earlier = place.with_name(f".{place.name}.{os.getpid()}.old")
    try:
        with saving("out", out):
            for folder in ("tables", "figures"):
                (draft / folder).mkdir(parents=True)
            write(contents, draft)
            (draft / "index.html").write_text(page(f"Report of {source}", lead, contents.sections), encoding="utf-8")
            if place.exists():
                place.rename(earlier)
            draft.rename(place)
    finally:
        if earlier.exists() and not place.exists():
            earlier.rename(place)
        for folder in (draft, earlier):
            shutil.rmtree(folder, ignore_errors=True)
    return out / "index.html"


def write(contents: Contents, folder: Path) -> None:
    """Write all files but the page."""
    contents.runs.to_csv(folder / "runs.csv", index=False)
    if len(contents.gradients):
        contents.gradients.to_csv(folder / "gradients.csv", index=False)
    for table in contents.main:
        table.write(folder)
    for table in contents.by_axis:
        table.write(folder / "tables")
    for picture in contents.pictures:
        picture.write(folder / "figures")


def contents_of(collected: Collected, source: str, with_paper: bool) -> tuple[Contents, list[str]]:
    """Everything that a report shows, and the sentences that it begins with."""
    runs, uncounted = with_gmacs(collected.runs)
    cells = cells_of(runs)
    main = {
        "table1": tables.table1(cells),
        "cells": tables.all_cells(cells),
        "differences": differences(runs),
        "paper": beside_paper(cells, paper_cells(), paper_source()) if with_paper else None,
        "missing": tables.missing_cells(cells),
    }
    datasets, backbones = (tables.by_axis(cells, *axes) for axes in (("dataset", "backbone"), ("backbone", "dataset")))
    plain = cells[cells["variant"] == ""]
    drawn = {
        "cost": figures.accuracy_against_gmacs(plain),
        "reducers_cost": figures.reducers_against_gmacs(plain),
        "reducers": figures.boxes_by_reducer(plain),
        "differences": run_figures.differences_by_reducer(main["differences"]),
        "ablation": figures.ablation(plain),
        "gradients": run_figures.gradients_by_step(runs, collected.gradients),
        "speed": run_figures.accuracy_against_speed(runs),
    }
    unused = "\n".join([*collected.skipped, *uncounted]) or "Every input was used."
    sections = sections_of(main, drawn, datasets, backbones, unused)
    lead = lead_of(runs, cells, source, len(collected.skipped))
    pictures = [picture for picture in drawn.values() if picture]
    kept = [table for table in main.values() if table]
    return Contents(runs, collected.gradients, kept, [*datasets, *backbones], pictures, sections), lead


def sections_of(
    main: dict[str, Table | None],
    drawn: dict[str, Picture | None],
    datasets: list[Table],
    backbones: list[Table],
    unused: str,
) -> list[Section]:
    """The page in its order; each section says so where the runs do not give what it would show."""
    return [
        Section("Table I", [main["table1"]]),
        Section("Accuracy against cost", [drawn["cost"], drawn["reducers_cost"]], "There are no GMACs of these runs."),
        Section("Base against CLCA by reducer", [drawn["reducers"]], "No reducer has runs both of base and of clca."),
        Section("Paired differences", [drawn["differences"], main["differences"]],
                "No run of clca has a partner of the same seed in base."),
        Section("Ablation of the plug-ins", [drawn["ablation"]], "No data set has runs of several plug-in settings."),
        Section("Gradients", [drawn["gradients"]], "No gradients by step: they come from metrics.csv in run folders."),
        Section("Accuracy against measured speed", [drawn["speed"]],
                "No speed was measured: it comes from run folders."),
        *([Section("Beside the paper", [main["paper"]])] if main["paper"] else []),
        Section("By data set", datasets, folded=True),
        Section("By backbone", backbones, folded=True),
        Section("All cells", [main["cells"]], folded=True),
        Section("Missing", [main["missing"]], "No cell is missing among those that were run."),
        Section("Not used", [], unused),
    ]  # fmt: skip


def lead_of(runs: pd.DataFrame, cells: pd.DataFrame, source: str, skipped: int) -> list[str]:
    """What was read, what a cell is and where the GMACs come from."""
    counts = ", ".join(
        f"{runs[name].nunique()} {title}{'s' * (runs[name].nunique() != 1)}"
        for name, title in (("dataset", "data set"), ("backbone", "backbone"), ("reducer", "reducer"),
                            ("keep_rate", "keep rate"), ("image_size", "image size"))
    )  # fmt: skip
    by_dataset = ", ".join(f"{name} {(runs['dataset'] == name).sum():,}" for name in
                           tables.ordered(runs["dataset"], DATASETS))  # fmt: skip
    told = [
        f"{len(runs):,} runs from {source} in {len(cells):,} cells: {counts} (runs: {by_dataset}).",
        "A cell is a data set, backbone, reducer, keep rate, image size and plug-in setting; its mean is over seeds.",
    ]
    if varied := (cells["variant"] != "").sum():
        told.append(
            f"{varied:,} cells are told apart by a setting that their name does not hold (variant); figures that "
            "average over backbones leave them out."
        )
    if (runs["gmacs_source"] == "recount").any():
        told.append(
            "GMACs are recounted in models built for it, attention included; those in the source are not used. For "
            "ATS, whose cost depends on weights and images, they hold for untrained weights and noise."
        )
    if runs["gmacs"].isna().any():
        told.append(f"GMACs are missing for {runs['gmacs'].isna().sum():,} runs; the last section tells why.")
    if skipped:
        told.append(f"{skipped:,} inputs were not used; the last section names them.")
    return told
