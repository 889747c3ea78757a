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
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from ufgir.cli import DONE, parse_options, run_command

SUMMARY = ("gmacs", "images_per_second", "peak_memory_gb", "params_m", "train_minutes")
AXES = ("grid", "dataset", "backbone", "reducer", "keep_rate", "plugins", "image_size", "lr", "seed", "protocol")
STEP = "trainer/global_step"  # of the optimizer; W&B's own counts what was logged
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
    from ufgir.errors import RunFailed, UserError, summarize
    from ufgir.report.plan import planned_runs, sweep_files
    from ufgir.utils import atomic_write, expand_path

    errors = []
    if options.out and not (parent := expand_path("out", options.out).parent).is_dir():
        errors.append(f"out={options.out}: the folder {parent} does not exist.")
    if not find_spec("wandb_workspaces"):
        errors.append("The package wandb-workspaces is not installed: pip install 'ufgir[dashboards]'")
    if not options.out and not has_api_key():
        errors.append("No login at W&B. Run `wandb login`, or write the documents with out=FILE.json.")
    if errors:
        raise UserError(*errors)
    file = sweep_files().get(options.sweep) or Path(options.sweep)
    planned = planned_runs(file) if file.is_file() else None  # a sweep of another machine is known by its name alone
    names = [] if planned is None else list(planned["dataset"].dropna().unique())
    names = [name for name in options.dataset.split(",") if name] or names
    protocol = options.protocol or ("test" if planned is None else planned["protocol"].iloc[0])
    import wandb

    try:
        entity = options.entity or os.environ.get("WANDB_ENTITY") or ("" if options.out else wandb.Api().default_entity)
        views = [make_view(options.project, entity, protocol, options.sweep, name) for name in names or [""]]
        if not options.out:
            for view in views:
                print(f"dashboard: {view.save().url}")
    except Exception as error:  # of a dozen kinds: no network, no such project, no right to write to it
        raise RunFailed(f"W&B refused the dashboard ({summarize(error)}).") from error
    if options.out:
        documents = [view._to_model().model_dump(by_alias=True, exclude_none=True) for view in views]
        with atomic_write(expand_path("out", options.out)) as stream:
            stream.write(json.dumps(documents, indent=2) + "\n")
        print(f"documents: {options.out}")
    return DONE


def has_api_key() -> bool:
    """Whether there is a login at W&B."""
    import wandb

    return bool(wandb.api.api_key)


def make_view(project: str, entity: str, protocol: str, sweep: str = "", dataset: str = "") -> Any:
    """A workspace that is not saved yet.

    Args:
        protocol: of the runs; its numbers are named after it.
        sweep: show the runs of this sweep only.
        dataset: show the runs of this data set only.
    """
    import wandb_workspaces.workspaces as ws

    shown = [ws.Config("protocol") == protocol]
    shown += [ws.Config("grid") == sweep] if sweep else []
    shown += [ws.Config("dataset") == dataset] if dataset else []
    top1 = "val_top1" if protocol == "val" else "test_top1"
    # Groups within groups: their colour is that of the reducer and the plug-ins, the innermost one is a cell.
    levels = [ws.Config("reducer"), ws.Config("plugins")]
    if not dataset:
        levels.insert(0, ws.Config("dataset"))
    colours = {ws.GroupPath(*path): colour for path, colour in group_colours().items()} if dataset else {}
    return ws.Workspace(
        name=" ".join(filter(None, ["ufgir", sweep or f"protocol {protocol}", dataset])),
        project=project,
        entity=entity,
        sections=sections(top1),
        settings=ws.WorkspaceSettings(max_runs=MOST),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(*shown),
            groupby=[*levels, ws.Metric("Group")],
            group_colors=colours,
            order=[ws.Ordering(ws.Summary(top1), ascending=False)],
            pinned_columns=[*(f"summary:{name}" for name in (top1, *SUMMARY)), *(f"config:{name}" for name in AXES)],
        ),
    )


def group_colours() -> dict[tuple[str, str], str]:
    """A colour for each reducer, lighter for fewer plug-ins; the same as in the report."""
    from ufgir.report.figures import COLOURS
    from ufgir.report.tables import REDUCERS

    colours = {}
    for reducer, colour in zip(REDUCERS, COLOURS, strict=True):
        channels = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
        for plugins, shade in SHADES.items():
            mixed = [round(shade * channel + (1 - shade) * 235) for channel in channels]
            colours[reducer, plugins] = "#" + "".join(f"{channel:02X}" for channel in mixed)
    return colours


def sections(top1: str) -> list[Any]:
    """The panels of a view."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    title = "Validation top-1, %" if top1 == "val_top1" else "Test top-1, %"
    y = wr.SummaryMetric(top1)
    costs = {"gmacs": "GMACs", "images_per_second": "images per second", "peak_memory_gb": "memory, GB"}
    cost = [
        wr.ScatterPlot(title=f"{title} against {text}", x=wr.SummaryMetric(name), y=y, log_x=True)
        for name, text in costs.items()
    ]
    cost.append(wr.ScatterPlot(title=f"{title} against keep rate", x=wr.Config("keep_rate"), y=y))
    cells = [
        wr.BarPlot(title=f"{name} of each cell, mean over its seeds", metrics=[metric], groupby=wr.Metric("Group"),
                   groupby_aggfunc="mean", groupby_rangefunc="stddev", max_bars_to_show=MOST, max_runs_to_show=MOST)
        for metric, name in ((top1, title), ("gmacs", "GMACs"), ("images_per_second", "Images per second"))
    ]  # fmt: skip
    axes = ("backbone", "image_size", "reducer", "keep_rate", "plugins", "lr")
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(axis), log=axis == "lr" or None) for axis in axes]
    columns.append(wr.ParallelCoordinatesPlotColumn(y))
    tokens = wr.MediaBrowser(title="Token pictures", media_keys=["tokens"], num_columns=2)
    curves = {"train/loss": "Training loss", "train/top1": "Training top-1, %", "val/loss": "Validation loss",
              "val/top1": "Validation top-1, %", "train/grad_max": "Largest gradient",
              "train/grad_mean": "Mean gradient", "lr": "Learning rate"}  # fmt: skip
    lines = [wr.LinePlot(title=text, x=STEP, y=[curve], log_y="grad" in curve or None, max_runs_to_show=MOST)
             for curve, text in curves.items()]  # fmt: skip
    return [
        ws.Section(name="Accuracy and cost", is_open=True, panels=cost),
        ws.Section(name="All cells", is_open=True, panels=cells),
        ws.Section(name="Settings", panels=[
            wr.ParallelCoordinatesPlot(title="From settings to accuracy", columns=columns),
            wr.RunComparer(diff_only="split"),
        ]),
        ws.Section(name="Tokens", is_open=True, panels=[tokens]),
        ws.Section(name="Training", panels=lines),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
