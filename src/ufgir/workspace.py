"""The W&B workspace of a project: which panels there are, and which runs they show."""

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

SEEDS = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}  # bars: the mean over runs, and its spread
STEP = "trainer/global_step"  # of the optimiser; W&B's own counts what was logged
RUNS_SHOWN = 100  # of W&B at most, in one panel
AXES = ("grid", "dataset", "backbone", "reducer", "keep_rate", "plugins", "image_size", "lr", "seed")
FIGURES = ("test_top1", "gmacs", "images_per_second", "peak_memory_gb", "train_minutes")


def make_workspace(project: str, entity: str, grid: str | None = None) -> ws.Workspace:
    """A workspace that is not saved yet.

    Args:
        project: W&B project of the runs.
        entity: user or team that owns it.
        grid: show the runs of this sweep only; without it all that were tested on the test images.
    """
    shown = ws.Config("grid") == grid if grid else ws.Config("protocol") == "test"
    return ws.Workspace(
        name=f"ufgir {grid or 'results'}",
        project=project,
        entity=entity,
        sections=[
            _cost(),
            _bars("reducer", "keep_rate"),
            _bars("plugins", "image_size"),
            _cells(),
            _settings(),
            _training(),
        ],
        settings=ws.WorkspaceSettings(max_runs=RUNS_SHOWN),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(shown),
            groupby=[ws.Metric("Group")],  # a cell: what its seeds have in common
            order=[ws.Ordering(ws.Summary("test_top1"), ascending=False)],
            pinned_columns=[*(f"summary:{name}" for name in FIGURES), *(f"config:{name}.value" for name in AXES)],
        ),
    )


def _cost() -> ws.Section:
    """Accuracy against what it costs."""
    return ws.Section(
        name="Accuracy and cost",
        is_open=True,
        panels=[
            _against("gmacs", "Accuracy against GMACs", log=True),
            _against("images_per_second", "Accuracy against speed", log=True),
            _against("peak_memory_gb", "Accuracy against memory"),
        ],
    )


def _against(figure: str, title: str, log: bool = False) -> wr.ScatterPlot:
    x, y = wr.SummaryMetric(figure), wr.SummaryMetric("test_top1")
    return wr.ScatterPlot(title=title, x=x, y=y, log_x=log or None)


def _bars(*axes: str) -> ws.Section:
    """Mean accuracy and cost by the values of each axis."""
    panels = [
        wr.BarPlot(title=f"{title} by {axis}", metrics=[figure], groupby=wr.Config(axis), title_x=title, **SEEDS)
        for axis in axes
        for figure, title in (("test_top1", "Top-1, %"), ("gmacs", "GMACs"), ("images_per_second", "Images per second"))
    ]
    return ws.Section(name=f"By {axes[0]} and {axes[1]}", is_open=True, panels=panels)


def _cells() -> ws.Section:
    """One bar for each cell, and for each data set and backbone."""
    keys = {"cell": wr.Metric("Group"), "dataset": wr.Config("dataset"), "backbone": wr.Config("backbone")}
    panels = [
        wr.BarPlot(title=f"Top-1 by {name}", metrics=["test_top1"], groupby=key, max_bars_to_show=RUNS_SHOWN, **SEEDS)
        for name, key in keys.items()
    ]
    return ws.Section(name="By cell, data set and backbone", panels=panels)


def _settings() -> ws.Section:
    """How the axes together lead to the accuracy."""
    axes = ("backbone", "image_size", "reducer", "keep_rate", "plugins", "lr")
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(axis), log=axis == "lr" or None) for axis in axes]
    columns.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric("test_top1")))
    return ws.Section(
        name="Settings",
        panels=[
            wr.ParallelCoordinatesPlot(title="From settings to accuracy", columns=columns),
            wr.ParameterImportancePlot(with_respect_to="test_top1"),
        ],
    )


def _training() -> ws.Section:
    """The curves of training, averaged over each cell."""
    curves = {
        "train/loss": "Loss of each epoch",
        "train/top1": "Training top-1 of each epoch, %",
        "train/grad_max": "Largest gradient of each step",
        "train/grad_mean": "Mean gradient of each step",
        "lr": "Learning rate",
    }
    panels = [
        wr.LinePlot(title=title, x=STEP, y=[curve], log_y="grad" in curve or None, groupby="Group")
        for curve, title in curves.items()
    ]
    return ws.Section(name="Training", panels=panels)
