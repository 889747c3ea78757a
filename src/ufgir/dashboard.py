"""Make views of a W&B project: accuracy against cost by reducer and plug-ins, all cells, curves and token pictures.

    python -m ufgir.dashboard project=NAME [entity=NAME] [sweep=NAME] [dataset=NAME,...] [protocol=NAME] [out=FILE.json]

project   W&B project of the runs, as in logger.wandb.project
entity    user or team that owns it (default: WANDB_ENTITY, else your own)
sweep     show the runs of this sweep only (default: all runs of a protocol)
dataset   one view for each of these data sets (default: those of the sweep, else one view of all)
protocol  test, val, holdout or cv (default: that of the sweep, else test); val shows validation numbers
out       write the documents that would be sent to W&B to this file as a JSON list, and send nothing; needs no login

A view compares single cells: only the seeds of a cell are averaged. Runs that were logged offline appear after
`wandb sync`.
"""

import json
import os
import sys
from importlib.util import find_spec
from itertools import cycle
from typing import Any, Literal

from pydantic import BaseModel

from ufgir.cli import DONE, parse_options, run_command

SUMMARY = ("gmacs", "images_per_second", "peak_memory_gb", "params_m", "train_minutes")
AXES = ("grid", "dataset", "backbone", "reducer", "keep_rate", "plugins", "image_size", "lr", "seed", "protocol")
STEP = "trainer/global_step"  # of the optimizer; W&B's own counts what was logged
CURVES = ("train/loss", "train/top1", "val/loss", "val/top1", "train/grad_max", "train/grad_mean", "lr")
MOST = 1000  # runs and bars that are shown at once
SHADES = {"base": 0.35, "cla": 0.6, "clc": 0.6, "clca": 1.0, "ifa": 0.8}  # of the reducer's colour, against white


class Options(BaseModel):
    project: str
    entity: str = ""
    sweep: str = ""
    dataset: str = ""
    protocol: Literal["test", "val", "holdout", "cv"] | None = None
    out: str = ""


def main(argv: list[str]) -> int:
    """Make the views, and send them or write them down.

    Raises:
        UserError: errors of the options, or something is missing on this machine.
        RunFailed: W&B refused them.
    """
    options = parse_options(Options, argv)
    import wandb

    from ufgir.errors import RunFailed, UserError, summarize
    from ufgir.report.cells import planned_runs
    from ufgir.sweep.grid import grid_names
    from ufgir.utils import atomic_write, expand_path

    out, errors = expand_path("out", options.out), []
    if options.out and not out.parent.is_dir():
        errors.append(f"out={options.out}: the folder {out.parent} does not exist.")
    if not find_spec("wandb_workspaces"):
        errors.append("The package wandb-workspaces is not installed: pip install -e '.[dashboards]'")
    if not options.out and not wandb.api.api_key:
        errors.append("No login at W&B. Run `wandb login`, or write the documents with out=FILE.json.")
    if errors:
        raise UserError(*errors)
    names, protocol = options.dataset.split(","), options.protocol or "test"
    if options.sweep in grid_names():  # a sweep of another machine is known by its name alone
        planned = planned_runs(options.sweep)
        names = names if options.dataset else [*planned["dataset"].dropna().unique()] or [""]
        protocol = options.protocol or planned["protocol"].iloc[0]
    try:
        entity = options.entity or os.environ.get("WANDB_ENTITY") or ("" if options.out else wandb.Api().default_entity)
        views = [make_view(options.project, entity, protocol, options.sweep, name) for name in names]
        for view in [] if options.out else views:
            print(f"dashboard: {view.save().url}")
    except Exception as error:  # of a dozen kinds: no network, no such project, no right to write to it
        raise RunFailed(f"W&B refused the dashboard ({summarize(error)}).") from error
    if options.out:
        documents = [view._to_model().model_dump(by_alias=True, exclude_none=True) for view in views]
        with atomic_write(out) as stream:
            json.dump(documents, stream, indent=2)
        print(f"documents: {options.out}")
    return DONE


def make_view(project: str, entity: str, protocol: str, sweep: str = "", dataset: str = "") -> Any:
    """A workspace that is not saved yet.

    Args:
        protocol: of the runs; its numbers are named after it.
        sweep: show the runs of this sweep only.
        dataset: show the runs of this data set only.
    """
    import wandb_workspaces.workspaces as ws

    wanted = {"protocol": protocol, "grid": sweep, "dataset": dataset}
    top1 = "val_top1" if protocol == "val" else "test_top1"
    # Groups within groups: their colour is that of the reducer and the plug-ins, the innermost one is a cell.
    levels = [ws.Config(name) for name in ("dataset", "reducer", "plugins")[bool(dataset) :]]
    return ws.Workspace(
        name=" ".join(filter(None, ["ufgir", sweep or f"protocol {protocol}", dataset])),
        project=project,
        entity=entity,
        sections=sections(top1),
        settings=ws.WorkspaceSettings(max_runs=MOST),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(*(ws.Config(key) == value for key, value in wanted.items() if value)),
            groupby=[*levels, ws.Metric("Group")],
            group_colors={ws.GroupPath(*path): colour for path, colour in group_colours().items() if dataset},
            order=[ws.Ordering(ws.Summary(top1), ascending=False)],
            pinned_columns=[*(f"summary:{name}" for name in (top1, *SUMMARY)), *(f"config:{name}" for name in AXES)],
        ),
    )


def group_colours() -> dict[tuple[str, str], str]:
    """A colour for each reducer, lighter for fewer plug-ins; the same as in the report."""
    from matplotlib.colors import to_hex, to_rgb

    from ufgir.report.figures import COLOURS
    from ufgir.report.tables import REDUCERS

    return {
        (reducer, plugins): to_hex([shade * channel + (1 - shade) * 0.92 for channel in to_rgb(colour)])
        for reducer, colour in zip(REDUCERS, cycle(COLOURS), strict=False)
        for plugins, shade in SHADES.items()
    }


def sections(top1: str) -> list[Any]:
    """The panels of a view."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    title = "Validation top-1, %" if top1 == "val_top1" else "Test top-1, %"
    metric = wr.SummaryMetric(top1)
    costs = {"gmacs": "GMACs", "images_per_second": "Images per second", "peak_memory_gb": "Memory, GB"}
    x = {**{text: wr.SummaryMetric(name) for name, text in costs.items()}, "keep rate": wr.Config("keep_rate")}
    bars = dict(groupby=wr.Metric("Group"), groupby_aggfunc="mean", groupby_rangefunc="stddev", max_bars_to_show=MOST)
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(name), log=name == "lr" or None) for name in AXES[2:8]]
    columns.append(wr.ParallelCoordinatesPlotColumn(metric))
    panels = {
        "Accuracy and cost": [
            wr.ScatterPlot(title=f"{title} against {text}", x=axis, y=metric, log_x=True) for text, axis in x.items()
        ],
        "All cells": [
            wr.BarPlot(title=f"{text} of each cell, mean over its seeds", metrics=[name], max_runs_to_show=MOST, **bars)
            for name, text in {top1: title, **costs}.items()
        ],
        "Tokens": [wr.MediaBrowser(title="Token pictures", media_keys=["tokens"], num_columns=2)],
        "Settings": [
            wr.ParallelCoordinatesPlot(title="From settings to accuracy", columns=columns),
            wr.RunComparer(diff_only="split"),
        ],
        "Training": [
            wr.LinePlot(title=name, x=STEP, y=[name], log_y="grad" in name or None, max_runs_to_show=MOST)
            for name in CURVES
        ],
    }
    return [ws.Section(name=name, is_open=name != "Training", panels=some) for name, some in panels.items()]


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
