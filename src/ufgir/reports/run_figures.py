"""The figures of what runs measured: gradients and speed; and the paired differences."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ufgir.reports.drawing import HALF, MARKERS, PLUGIN_COLOURS, Picture, legend, panels, picture
from ufgir.reports.layout import PLUGINS, REDUCERS, ordered
from ufgir.reports.statistics import LEVEL
from ufgir.reports.table import Table

MOST_PANELS = 6  # of gradients
NUMBERED = 12  # points of a panel that keep rates can be written beside
CURVE = ["dataset", "backbone", "image_size", "reducer", "keep_rate", "variant"]


def gradients_by_step(runs: pd.DataFrame, gradients: pd.DataFrame) -> Picture | None:
    """A panel for each cell but for its plug-ins: the largest gradient of each step, a line for each setting."""
    if gradients.empty:
        return None
    curves = gradients.merge(runs[[*CURVE, "plugins", "run"]], on="run")
    groups = sorted(curves.groupby(CURVE), key=lambda group: -group[1]["plugins"].nunique())
    shown = groups[:MOST_PANELS]

    def draw(columns: int) -> Figure:
        figure, axes = panels([HALF[1]] * len(shown), min(columns, 2), HALF[0])
        for axis, ((dataset, backbone, size, reducer, rate, variant), part) in zip(axes, shown, strict=True):
            for plugins in ordered(part["plugins"], PLUGINS):
                steps = part[part["plugins"] == plugins].groupby("step")["grad_max"]
                line, colour = steps.mean(), PLUGIN_COLOURS.get(plugins)
                axis.plot(line.index, line, color=colour, label=plugins, linewidth=1.4)
                axis.fill_between(line.index, steps.min(), steps.max(), color=colour, alpha=0.15, linewidth=0)
            axis.set_yscale("log")
            axis.set_title(f"{dataset}, {backbone}, {size} px\n{reducer} {rate} {variant}".rstrip())
            axis.set_xlabel("step")
            axis.set_ylabel("largest |gradient|")
        legend(figure, axes, columns)
        return figure

    unseen = len(groups) - len(shown)
    left_out = f" {unseen} more panels would not fit; their curves are in that file." if unseen else ""
    caption = (
        "Largest absolute gradient of each step of training, averaged over short stretches; line: mean over the seeds, "
        f"band: from the smallest to the largest seed. gradients.csv has the mean gradient too.{left_out}"
    )
    return picture("gradients", "Gradients", caption, draw)


def accuracy_against_speed(runs: pd.DataFrame) -> Picture | None:
    """A panel for each data set, size and device: a point for each cell whose speed was measured."""
    measured = runs.dropna(subset=["images_per_second"]).replace({"device": {"": "device not named"}})
    if measured.empty:
        return None
    names = ["dataset", "image_size", "device"]
    keys = ["backbone", "reducer", "keep_rate", "plugins", "variant"]
    points = measured.groupby([*names, *keys])[["images_per_second", "test_top1"]].mean().reset_index()
    groups = list(points.groupby(names))
    reducers = ordered(points["reducer"], REDUCERS)

    def draw(columns: int) -> Figure:
        figure, axes = panels([HALF[1]] * len(groups), min(columns, 2), HALF[0])
        for axis, ((dataset, size, device), part) in zip(axes, groups, strict=True):
            for (plugins, reducer), some in part.groupby(["plugins", "reducer"]):
                marker = MARKERS[reducers.index(reducer) % len(MARKERS)]
                style = dict(color=PLUGIN_COLOURS.get(plugins), marker=marker, s=45)
                axis.scatter(some["images_per_second"], some["test_top1"], label=f"{plugins}, {reducer}", **style)
            if len(part) <= NUMBERED:
                for row in part.itertuples():
                    axis.annotate(row.keep_rate, (row.images_per_second, row.test_top1), fontsize=8,
                                  xytext=(5, 4), textcoords="offset points")
            axis.set_title(f"{dataset}, {size} px\n{device}")
            axis.set_xlabel("images per second in the test pass")
            axis.set_ylabel("test top-1, %")
            axis.margins(0.15)
        legend(figure, axes, columns)
        return figure

    caption = (
        "Test top-1 against the measured speed of the test pass, mean over seeds, each device by itself; up to "
        f"{NUMBERED} points have their keep rates beside them. Right and up is better."
    )
    return picture("speed", "Accuracy against measured speed", caption, draw)


def differences_by_reducer(differences: Table | None) -> Picture | None:
    """A panel for each image size: mean difference and interval for each reducer and keep rate."""
    if differences is None:
        return None
    groups = list(differences.values.dropna(subset=["reducer"]).groupby("image_size"))
    def draw(columns: int) -> Figure:
        figure, axes = panels([1 + 0.22 * len(part) for _, part in groups], min(columns, 2), HALF[0])
        beside = max(len(part) for _, part in groups) if columns > 1 else 0  # as many places, so that rows are level
        for axis, (size, part) in zip(axes, groups, strict=True):
            height = max(beside, len(part))
            places = range(height, height - len(part), -1)
            errors = np.stack([part["mean"] - part["low"], part["high"] - part["mean"]])
            axis.errorbar(part["mean"], places, xerr=errors, fmt="o", color=PLUGIN_COLOURS["clca"], capsize=3)
            axis.axvline(0, color="black", linewidth=1)
            names = [f"{row.reducer} {'' if row.reducer == 'none' else row.keep_rate}" for row in part.itertuples()]
            axis.set_yticks(places, [f"{name.strip()} ({n})" for name, n in zip(names, part["units"], strict=True)])
            axis.set_ylim(0.3, height + 0.7)
            axis.set_title(f"{int(size)} px")
            axis.set_xlabel("CLCA minus base, points")
        return figure

    caption = (
        f"Mean paired difference of test top-1, CLCA minus base, with its {LEVEL} % bootstrap interval, by reducer and "
        "keep rate; in brackets the number of pairs. Right of the line CLCA is better."
    )
    return picture("differences", "Paired differences", caption, draw)
