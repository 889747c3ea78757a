"""The figures of accuracy: against cost, by reducer, by plug-ins."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from ufgir.reports.drawing import (
    COLOURS,
    HALF,
    MARKERS,
    PANEL,
    PLUGIN_COLOURS,
    Picture,
    legend,
    over_backbones,
    panels,
    picture,
)
from ufgir.reports.layout import DATASETS, PLUGINS, REDUCERS, ordered

FEW = 5  # values, of which no box is drawn


def main_reducer(cells: pd.DataFrame) -> str:
    """The reducer of most cells."""
    reduced = cells.loc[cells["reducer"] != "none", "reducer"]
    return reduced.value_counts().index[0] if len(reduced) else "none"


def accuracy_against_gmacs(cells: pd.DataFrame) -> Picture | None:
    """A panel for each data set: a line for each plug-in setting and image size, a point for each keep rate."""
    reducer = main_reducer(cells)
    cells = cells[cells["reducer"].isin([reducer, "none"]) & cells["gmacs"].notna()]
    if cells.empty:
        return None
    datasets, sizes = ordered(cells["dataset"], DATASETS), sorted(cells["image_size"].unique())

    def draw(columns: int) -> Figure:
        figure, axes = panels([PANEL[1]] * len(datasets), columns, PANEL[0])
        for axis, dataset in zip(axes, datasets, strict=True):
            points, backbones = over_backbones(
                cells[cells["dataset"] == dataset], ["plugins", "image_size", "reducer", "keep_rate"]
            )
            for plugins in ordered(points["plugins"], PLUGINS):
                for size in sizes:
                    line = points[(points["plugins"] == plugins) & (points["image_size"] == size)]
                    style = dict(color=PLUGIN_COLOURS.get(plugins), marker=MARKERS[sizes.index(size)], markersize=5)
                    style["linestyle"] = "--" if size != sizes[-1] else "-"
                    if len(line):
                        spread, label = line["std"].to_numpy(), f"{plugins} {size} px"
                        axis.errorbar(line["gmacs"], line["mean"], spread, label=label, **style)
            axis.set_title(f"{dataset} ({backbones})")
            _cost_axis(axis)
        legend(figure, axes, columns)
        return figure

    caption = (
        f"Test top-1 against GMACs of one image for {reducer}. Each point is a keep rate, from the lowest "
        "on the left to no reduction on the right; mean over seeds and backbones; points that "
        "fewer than half of the backbones have are left out. Bars: standard deviation over the "
        "seeds, where there is one backbone."
    )
    return picture("accuracy_gmacs", "Plug-ins and image sizes", caption, draw)


def reducers_against_gmacs(cells: pd.DataFrame) -> Picture | None:
    """A panel for each data set, size and plug-in setting: a line for each reducer; only where there are several."""
    cells = cells[(cells["reducer"] != "none") & cells["gmacs"].notna() & cells["plugins"].isin(["base", "clca"])]
    groups = [
        (key, part)
        for key, part in cells.groupby(["image_size", "dataset", "plugins"], sort=True)
        if part["reducer"].nunique() > 1
    ]
    if not groups:
        return None
    reducers = ordered(cells["reducer"], REDUCERS)

    def draw(columns: int) -> Figure:
        figure, axes = panels([HALF[1]] * len(groups), min(columns, 2), HALF[0])
        limits = {}
        for axis, ((size, dataset, plugins), part) in zip(axes, groups, strict=True):
            points, backbones = over_backbones(part, ["reducer", "keep_rate"])
            for reducer in ordered(points["reducer"], REDUCERS):
                line, number = points[points["reducer"] == reducer].sort_values("keep_rate"), reducers.index(reducer)
                style = dict(color=COLOURS[number % len(COLOURS)], marker=MARKERS[number % len(MARKERS)])
                axis.plot(line["gmacs"], line["mean"], label=reducer, **style)
            axis.set_title(f"{dataset}, {size} px, {plugins} ({backbones})")
            _cost_axis(axis)
            limits.setdefault((size, dataset), []).append(axis)
        for same in limits.values():  # the same scale for the same data set, so that plug-ins can be compared
            bottom, top = min(axis.get_ylim()[0] for axis in same), max(axis.get_ylim()[1] for axis in same)
            for axis in same:
                axis.set_ylim(bottom, top)
        legend(figure, axes, columns)
        return figure

    caption = (
        "Test top-1 against GMACs of one image for each reducer, without plug-ins and with CLCA. Each point is a keep "
        "rate; mean over seeds and backbones. The panels of one data set have the same scale."
    )
    return picture("reducers_gmacs", "Reducers", caption, draw)


def boxes_by_reducer(cells: pd.DataFrame) -> Picture | None:
    """A panel for each data set and size: for each reducer a box of cells without plug-ins, and one with CLCA."""
    cells = cells[cells["plugins"].isin(["base", "clca"])]
    both = cells.groupby(["image_size", "dataset", "reducer"])["plugins"].transform("nunique") == 2
    groups = list(cells[both].groupby(["image_size", "dataset"]))
    if not groups:
        return None

    def draw(columns: int) -> Figure:
        figure, axes = panels([HALF[1]] * len(groups), min(columns, 2), HALF[0])
        for axis, ((size, dataset), part) in zip(axes, groups, strict=True):
            part, rates = _common_rates(part)
            names = ordered(part["reducer"], REDUCERS)
            for offset, plugins in ((-0.2, "base"), (0.2, "clca")):
                values = [part.loc[(part["reducer"] == name) & (part["plugins"] == plugins), "mean"] for name in names]
                _boxes(axis, values, offset, plugins)
            axis.set_xticks(range(len(names)), names, rotation=30 if len(names) > 4 else 0)
            axis.set_title(f"{dataset}, {size} px, keep {rates}")
            axis.set_ylabel("test top-1, %")
            axis.grid(axis="x", visible=False)
        legend(figure, axes, columns)
        return figure

    caption = (
        "Test top-1 of the cells of each reducer, base against CLCA: one value for each backbone and keep rate, seeds "
        "averaged, over the keep rates that all reducers of a panel have. Line: median; box: quartiles; whiskers: up "
        f"to 1.5 times the box; fewer than {FEW} values are shown as points."
    )
    return picture("reducers", "Base against CLCA by reducer", caption, draw)


def ablation(cells: pd.DataFrame) -> Picture | None:
    """A panel for each data set and size: bars for the plug-in settings at each keep rate."""
    reducer = main_reducer(cells)
    cells = cells[cells["reducer"].isin([reducer, "none"]) & (cells["plugins"] != "ifa")]
    groups = [
        (key, part) for key, part in cells.groupby(["image_size", "dataset"]) if part["plugins"].nunique() > 1
    ]
    if not groups:
        return None

    def draw(columns: int) -> Figure:
        figure, axes = panels([PANEL[1]] * len(groups), columns, PANEL[0])
        for axis, ((size, dataset), part) in zip(axes, groups, strict=True):
            points, backbones = over_backbones(part, ["plugins", "reducer", "keep_rate"])
            _bars(axis, points)
            axis.set_title(f"{dataset}, {size} px ({backbones})")
        legend(figure, axes, columns)
        return figure

    caption = (
        f"The ablation: test top-1 of {reducer} with neither plug-in (base), the aggregation head (cla), the cache "
        "(clc) and both (clca) at each keep rate, mean over seeds and backbones. A setting without runs has no bar. "
        "Whiskers: standard deviation over the seeds, where there is one backbone."
    )
    return picture("ablation", "Ablation of the plug-ins", caption, draw)


def _bars(axis: Axes, points: pd.DataFrame) -> None:
    """Bars of the plug-in settings, grouped by keep rate, without reduction last."""
    places = list(points[["reducer", "keep_rate"]].drop_duplicates().itertuples(index=False, name=None))
    places.sort(key=lambda place: (place[0] == "none", place[1]))
    names = ordered(points["plugins"], PLUGINS)
    width = 0.8 / len(names)
    for number, plugins in enumerate(names):
        line = points[points["plugins"] == plugins]
        keys = zip(line["reducer"], line["keep_rate"], strict=True)
        where = [places.index(place) + (number - (len(names) - 1) / 2) * width for place in keys]
        axis.bar(where, line["mean"], width * 0.92, yerr=line["std"], color=PLUGIN_COLOURS.get(plugins), label=plugins)
    axis.set_xticks(range(len(places)), ["none" if name == "none" else rate for name, rate in places])
    axis.set_xlabel("keep rate")
    axis.set_ylabel("test top-1, %")
    axis.grid(axis="x", visible=False)


def _boxes(axis: Axes, values: list[pd.Series], offset: float, plugins: str) -> None:
    """A box for each reducer; the values themselves where they are too few for one."""
    colour = PLUGIN_COLOURS[plugins]
    for place, some in enumerate(values):
        if len(some) < FEW:
            axis.plot([place + offset] * len(some), some, "o", color=colour, alpha=0.75)
            continue
        axis.boxplot(
            some, positions=[place + offset], widths=0.34, patch_artist=True, medianprops={"color": "white"},
            boxprops={"facecolor": colour, "alpha": 0.75}, flierprops={"markersize": 3}, manage_ticks=False,
        )  # fmt: skip
    axis.plot([], [], color=colour, linewidth=7, alpha=0.75, label=plugins)


def _common_rates(part: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Cells at the keep rates that all reducers have, `none` aside, and those rates; all cells if there are none."""
    reduced = part[part["reducer"] != "none"]
    sets = [set(rates) for _, rates in reduced.groupby("reducer")["keep_rate"]]
    common = set.intersection(*sets) if sets else set()
    if not common:
        return part, "as run" if sets else "1"
    return part[part["keep_rate"].isin(common) | (part["reducer"] == "none")], ", ".join(sorted(common))


def _cost_axis(axis: Axes) -> None:
    """GMACs, logarithmic where they vary much, with round numbers."""
    low, high = axis.get_xlim()
    if low > 0 and high > 6 * low:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("GMACs")
    axis.set_ylabel("test top-1, %")
