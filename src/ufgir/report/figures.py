"""The figures of a report: each a row of panels of one size, which a page can break to its width."""

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import cycle
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from ufgir.report.cells import LEVEL
from ufgir.report.tables import PLUGINS, REDUCERS, Table, arranged, ordered

# Okabe and Ito's colours, which the colour-blind can tell apart. The plug-ins keep theirs in all figures.
PLUGIN_COLOURS = {"base": "#555555", "cla": "#E69F00", "clc": "#56B4E9", "clca": "#0072B2", "ifa": "#CC79A7"}
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A00", "#882255")
MARKERS = dict(zip("os^DvPX<>*", "●■▲◆▼✚✖◀▶★", strict=True))  # of matplotlib, and as text
FRONT = "#B8B8B8"
SAME_COST = 1.01  # costs within a percent count as equal on the Pareto front
STYLE = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
    "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titley": 1.0, "axes.axisbelow": True,
    "legend.frameon": False, "svg.hashsalt": "ufgir", "svg.fonttype": "none",
}  # fmt: skip
WIDTH, HEIGHT = 4.2, 3.1  # of a panel, inches
NUMBERED = 12  # points of a panel that keep rates can be written beside


@dataclass
class Plot:
    """A figure.

    Attributes:
        name: of its files.
        title: in a few words.
        caption: what is seen, to be read without the rest of the page.
        panels: title and rows of each of its parts.
        draw: draws the rows of a panel on axes.
        legend: label, colour and marker, one of `MARKERS`, of what is drawn.
        backbone: shown where this one is chosen in the page; empty: without a choice.
        height: of a panel with these rows, inches.
        columns: panels beside each other in a file, at most.
    """

    name: str
    title: str
    caption: str
    panels: list[tuple[str, pd.DataFrame]]
    draw: Callable[[Axes, pd.DataFrame], None]
    legend: list[tuple[str, str, str]] = field(default_factory=list)
    backbone: str = ""
    height: Callable[[pd.DataFrame], float] = lambda rows: HEIGHT
    columns: int = 3

    def images(self) -> Iterator[tuple[str, str]]:
        """The title of each panel, and the panel as an SVG in a data URL."""
        for panel in self.panels:
            with rc_context(STYLE):
                figure, stream = self._figure([panel]), BytesIO()
                figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
            svg = re.sub(r"font-family: [^;\"]*", "font-family: sans-serif", stream.getvalue().decode())
            svg = re.sub(r"(\.\d)\d+(?=[^<>]*>)", r"\1", svg[svg.index("<svg") :])  # tenths of a point are enough
            svg = re.sub(r"\s+", " ", svg).replace("> <", "><")
            yield panel[0], "data:image/svg+xml," + quote(svg, safe=" /:;=,()<>'")

    def write(self, folder: Path, name: str) -> None:
        """Write all panels with their legend as `<name>.svg` and `<name>.pdf`."""
        handles = [Line2D([], [], color=colour, marker=marker, label=label) for label, colour, marker in self.legend]
        with rc_context(STYLE):
            figure = self._figure(self.panels)
            if handles:
                columns = min(len(handles), 3 * min(len(self.panels), self.columns))
                figure.set_figheight(figure.get_figheight() + 0.2 + 0.22 * -(-len(handles) // columns))
                figure.legend(handles=handles, loc="outside upper center", ncols=columns)
            for form, date in (("svg", "Date"), ("pdf", "CreationDate")):  # without a date: same runs, same file
                figure.savefig(folder / f"{name}.{form}", metadata={date: None})

    def _figure(self, panels: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
        columns = min(len(panels), self.columns)
        heights = [self.height(rows) for _, rows in panels]
        heights = [max(heights[start : start + columns]) for start in range(0, len(panels), columns)]
        figure = Figure(figsize=(WIDTH * columns, sum(heights)), layout="constrained")
        axes = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights).flat
        for axis, (title, rows) in zip(axes, panels, strict=False):
            axis.set_title("\n".join(textwrap.wrap(title, 42)), loc="left", parse_math=False)
            self.draw(axis, rows)
        for axis in axes[len(panels) :]:
            axis.remove()
        return figure


def panels_of(frame: pd.DataFrame, by: list[str], point: Sequence[str] = ()) -> list[tuple[str, pd.DataFrame]]:
    """Title and rows of a panel for each group of rows.

    Args:
        by: columns that a panel is for.
        point: draw means over backbones for each value of these, see `over_backbones`.
    """
    panels = []
    for key, rows in arranged(frame, by).groupby(by, sort=False):
        values = zip(by, key, strict=True)
        title = ", ".join(f"{value} px" if name == "image_size" else value for name, value in values if value != "")
        if point:
            rows, who = over_backbones(rows, list(point))
            title += f" ({who})"
        panels.append((title, rows))
    return panels


def over_backbones(cells: pd.DataFrame, point: list[str]) -> tuple[pd.DataFrame, str]:
    """Means over the backbones that have every point of a panel, so that points can be compared.

    Points that fewer than half of the backbones have do not narrow these; they are means over what there is, and
    `partial`.

    Returns:
        `point`, `mean`, `std` (for one backbone, over its seeds), `gmacs`, `partial`; and which backbones these are.
    """
    holders = cells.groupby(point)["backbone"].transform("nunique")
    shared = cells[holders >= cells["backbone"].nunique() / 2]
    shared = shared if len(shared) else cells
    present = shared.groupby("backbone")[point].apply(lambda part: len(part.drop_duplicates()))
    complete = present.index[present == len(shared[point].drop_duplicates())]
    used = shared[shared["backbone"].isin(complete)] if len(complete) else shared
    rest = cells[~cells.set_index(point).index.isin(used.set_index(point).index)]
    alone = cells["backbone"].nunique() == 1
    points = [
        part.groupby(point)[["mean", "std", "gmacs"]].mean().assign(partial=flag)
        for part, flag in ((used, not len(complete)), (rest, True))
        if len(part)
    ]
    points = pd.concat(points).reset_index().sort_values("gmacs")
    points["std"] = points["std"] if alone else np.nan
    names = used["backbone"].unique()
    return points, names[0] if len(names) == 1 else f"{len(names)} backbones"


COST_NOTE = (
    "Left and up is better; grey: the Pareto front of the panel, costs within 1 % taken as equal. Hollow points: means "
    "over fewer backbones than the others. Bars: standard deviation over the seeds, where there is one backbone."
)


def _cost_panels(
    cells: pd.DataFrame, by: list[str], lines: list[str], styles: dict[tuple, dict], metric: str
) -> tuple[list[tuple[str, pd.DataFrame]], Callable[[Axes, pd.DataFrame], None]]:
    """Panels of accuracy against GMACs, and what draws them: a line for each value of `lines`.

    Panels of one data set have the same scale.
    """
    panels = panels_of(cells, by, list(dict.fromkeys(["dataset", *lines, "reducer", "keep_rate"])))
    rows = pd.concat([rows for _, rows in panels])
    ends = pd.concat([rows.assign(end=rows["mean"] + sign * rows["std"].fillna(0)) for sign in (-1, 1)])
    limits = ends.groupby("dataset")["end"].agg(["min", "max"])

    def draw(axis: Axes, points: pd.DataFrame) -> None:
        for key, line in points.groupby(lines):
            style = {"markersize": 5, **styles[key]}
            errors = line["std"] if line["std"].notna().any() else None
            axis.errorbar(line["gmacs"], line["mean"], errors, elinewidth=1, **style)
            few = line[line["partial"]]
            axis.plot(few["gmacs"], few["mean"], zorder=4, **{**style, "linestyle": "", "markerfacecolor": "white"})
        whole = points[~points["partial"]].sort_values("gmacs")
        affordable = [whole.loc[whole["gmacs"] <= SAME_COST * gmacs, "mean"].max() for gmacs in whole["gmacs"]]
        front = whole[whole["mean"] >= affordable]  # nothing is both cheaper and better
        axis.step(front["gmacs"], front["mean"], where="post", color=FRONT, linewidth=5, alpha=0.6, zorder=1)
        axis.scatter(front["gmacs"], front["mean"], s=95, facecolor="none", edgecolor=FRONT, linewidth=2.5, zorder=1)
        low, high = cells["gmacs"].min() / 1.15, cells["gmacs"].max() * 1.15
        axis.set_xscale("log")
        axis.set_xlim(low, high)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7) if high < 6 * low else (1, 2, 5)))
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_locator(NullLocator())
        bottom, top = limits.loc[points["dataset"].iloc[0]]
        margin = 0.06 * (top - bottom) or 1.0
        axis.set_ylim(bottom - margin, top + margin)
        axis.set(xlabel="GMACs of one image (log)", ylabel=f"{metric}, %")

    return panels, draw


def plugins_against_cost(cells: pd.DataFrame, metric: str, backbone: str = "") -> Plot | None:
    """A panel for each data set: a line for each plug-in setting and size of the reducer with the most cells."""
    cells = cells[cells["gmacs"] > 0]
    if cells["gmacs"].nunique() < 2:
        return None
    reducer = main_reducer(cells)
    cells = cells[cells["reducer"].isin([reducer, "none"])]
    sizes = dict(zip(sorted(cells["image_size"].unique()), cycle(MARKERS), strict=False))
    lines = ["plugins", "image_size"]
    styles = {
        (plugins, size): dict(
            color=plugin_colour(plugins), marker=sizes[size], linestyle="-" if size == max(sizes) else "--"
        )
        for plugins, size in arranged(cells, lines)[lines].drop_duplicates().itertuples(index=False)
    }
    legend = [(f"{key[0]} {key[1]} px", style["color"], style["marker"]) for key, style in styles.items()]
    caption = (
        f"{metric.capitalize()} against GMACs of one image for {reducer}. Each point is a keep rate, from the lowest "
        f"on the left to no reduction on the right; mean over seeds and backbones. {COST_NOTE}"
    )
    panels, draw = _cost_panels(cells, ["dataset"], lines, styles, metric)
    return Plot("accuracy_gmacs", f"Plug-ins and image sizes of {reducer}", caption, panels, draw, legend, backbone)


def reducers_against_cost(cells: pd.DataFrame, metric: str, backbone: str = "") -> Plot | None:
    """A panel for each data set, size and plug-in setting with other reducers than the main one: a line for each."""
    cells = cells[cells["gmacs"] > 0]
    by = ["dataset", "image_size", "plugins"]
    is_other = ~cells["reducer"].isin(["none", main_reducer(cells)])
    if not is_other.any():
        return None
    styles = {
        (name,): dict(color=COLOURS[number % len(COLOURS)], marker=list(MARKERS)[number % len(MARKERS)])
        for number, name in enumerate(ordered(cells["reducer"], REDUCERS))
    }
    legend = [(name, style["color"], style["marker"]) for (name,), style in styles.items()]
    caption = (
        f"{metric.capitalize()} against GMACs of one image for each reducer. Each point is a keep rate; mean over "
        f"seeds and backbones. The panels of one data set have the same scale. {COST_NOTE}"
    )
    cells = cells[is_other.groupby([cells[name] for name in by]).transform("any")]
    panels, draw = _cost_panels(cells, by, ["reducer"], styles, metric)
    return Plot("reducers_gmacs", "Reducers", caption, panels, draw, legend, backbone)


def plugin_colour(name: str) -> str:
    return PLUGIN_COLOURS.get(name, "#882255")


def plugin_legend(names: pd.Series, marker: str) -> list[tuple[str, str, str]]:
    return [(name, plugin_colour(name), marker) for name in ordered(names, PLUGINS)]


def main_reducer(cells: pd.DataFrame) -> str:
    """The reducer of most cells."""
    reduced = cells.loc[cells["reducer"] != "none", "reducer"]
    return reduced.value_counts().index[0] if len(reduced) else "none"


def ablation(cells: pd.DataFrame, metric: str) -> Plot | None:
    """A panel for each data set and size: bars for the plug-in settings of the main reducer at each keep rate."""
    reducer, by = main_reducer(cells), ["dataset", "image_size"]
    cells = cells[cells["reducer"].isin([reducer, "none"]) & (cells["plugins"] != "ifa")]
    cells = cells[cells.groupby(by)["plugins"].transform("nunique") > 1]
    if cells.empty:
        return None

    def draw(axis: Axes, points: pd.DataFrame) -> None:
        place = points["keep_rate"].where(points["reducer"] != "none", "none")
        bars = points.assign(place=place).pivot(index="place", columns="plugins", values=["mean", "std"])
        names = ordered(points["plugins"], PLUGINS)
        width = 0.8 / len(names)
        for number, plugins in enumerate(names):
            where = np.arange(len(bars)) + (number - (len(names) - 1) / 2) * width
            errors = bars["std", plugins]
            axis.bar(where, bars["mean", plugins], width * 0.92, yerr=errors, color=plugin_colour(plugins))
        axis.set_xticks(range(len(bars)), bars.index)
        axis.set(xlabel="keep rate", ylabel=f"{metric}, %")
        axis.grid(axis="x", visible=False)

    caption = (
        f"{metric.capitalize()} of {reducer} with neither plug-in (base), the aggregation head (cla), the cache (clc) "
        "and both (clca) at each keep rate, mean over seeds and backbones. A setting without runs has no bar. "
        "Whiskers: standard deviation over the seeds, where there is one backbone."
    )
    panels = panels_of(cells, by, ["plugins", "reducer", "keep_rate"])
    return Plot("ablation", "Ablation of the plug-ins", caption, panels, draw, plugin_legend(cells["plugins"], "s"))


def difference_intervals(differences: Table | None, metric: str) -> Plot | None:
    """A panel for each image size: mean difference and interval for each reducer and keep rate."""
    if differences is None:
        return None

    def draw(axis: Axes, rows: pd.DataFrame) -> None:
        places = range(len(rows), 0, -1)
        errors = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
        axis.errorbar(rows["mean"], places, xerr=errors, fmt="o", color=PLUGIN_COLOURS["clca"], capsize=3)
        axis.axvline(0, color="black", linewidth=1)
        axis.set_yticks(places, rows["label"])
        axis.set(ylim=(0.3, len(rows) + 0.7), xlabel="CLCA minus base, points")

    caption = (
        f"Mean paired difference of {metric}, CLCA minus base, with its {LEVEL} % bootstrap interval, by reducer and "
        "keep rate; in brackets the number of pairs. Right of the line CLCA is better."
    )
    rows = differences.values.dropna(subset=["reducer"])
    rates = rows["keep_rate"].where(rows["reducer"] != "none", "")
    labels = rows["reducer"] + " " + rates + " (" + rows["units"].astype(str) + ")"
    panels = panels_of(rows.assign(label=labels.str.replace("  ", " ")), ["image_size"])

    def height(rows: pd.DataFrame) -> float:
        return 1.0 + 0.2 * len(rows)

    return Plot("differences", "Paired differences", caption, panels, draw, height=height, columns=1)


def accuracy_against_speed(cells: pd.DataFrame, runs: pd.DataFrame, metric: str) -> Plot | None:
    """A panel for each data set, size and device: a point for each cell whose speed was measured."""
    by, keys = ["dataset", "image_size", "device"], ["backbone", "reducer", "keep_rate", "plugins", "variant"]
    measured = runs.dropna(subset=["images_per_second"]).replace({"device": {"": "device not named"}})
    points = measured.groupby([*by, *keys])[["images_per_second", "top1"]].mean().reset_index()
    points = points.merge(cells[[*by[:2], *keys]])
    if len(points[["reducer", "keep_rate", "plugins"]].drop_duplicates()) < 2:
        return None
    reducers = ordered(points["reducer"], REDUCERS)
    markers = {name: list(MARKERS)[number % len(MARKERS)] for number, name in enumerate(reducers)}

    def draw(axis: Axes, rows: pd.DataFrame) -> None:
        for (plugins, reducer), some in rows.groupby(["plugins", "reducer"]):
            style = dict(color=plugin_colour(plugins), marker=markers[reducer], s=40)
            axis.scatter(some["images_per_second"], some["top1"], **style)
        for row in rows.itertuples() if len(rows) <= NUMBERED else ():
            place = dict(xytext=(5, 4), textcoords="offset points")
            axis.annotate(row.keep_rate, (row.images_per_second, row.top1), fontsize=8, **place)
        axis.set(xlabel="images per second in the test pass", ylabel=f"{metric}, %")
        axis.margins(0.15)

    caption = (
        f"{metric.capitalize()} against the measured speed of the test pass, mean over seeds, each device by itself; "
        f"up to {NUMBERED} points have their keep rates beside them. Right and up is better."
    )
    legend = plugin_legend(points["plugins"], "s") + [(name, "#555555", markers[name]) for name in reducers]
    return Plot("speed", "Accuracy against measured speed", caption, panels_of(points, by), draw, legend)
