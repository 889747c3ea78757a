"""The figures of a report: each a row of panels of one size, which a page can break to its width."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from ufgir.report.cells import LEVEL
from ufgir.report.tables import DATASETS, PLUGINS, REDUCERS, Table, ordered

# Okabe and Ito's colours, which the colour-blind can tell apart. The plug-ins keep theirs in all figures.
PLUGIN_COLOURS = {"base": "#555555", "cla": "#E69F00", "clc": "#56B4E9", "clca": "#0072B2", "ifa": "#CC79A7"}
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A00", "#882255")
MARKERS = dict(zip("os^DvPX<>*", "●■▲◆▼✚✖◀▶★", strict=True))  # of matplotlib, and as text
FRONT = "#B8B8B8"
SAME_COST = 1.01  # costs within a percent count as equal on the Pareto front
STYLE = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
    "axes.titlesize": 10, "axes.titleweight": "bold", "axes.axisbelow": True, "legend.frameon": False,
    "svg.hashsalt": "ufgir", "svg.fonttype": "none",
}  # fmt: skip
WIDTH, HEIGHT = 4.2, 3.1  # of a panel, inches
NUMBERED = 12  # points of a panel that keep rates can be written beside
MOST_CURVES = 9  # panels of gradients


@dataclass
class Panel:
    """A title and a function that draws on axes."""

    title: str
    draw: Callable[[Axes], None]
    height: float = HEIGHT

    def on(self, axis: Axes) -> None:
        axis.set_title("\n".join(textwrap.wrap(self.title, 52)), loc="left", parse_math=False)
        self.draw(axis)

    @property
    def image(self) -> str:
        """The panel as an SVG in a data URL."""
        with rc_context(STYLE):
            figure = Figure(figsize=(WIDTH, self.height), layout="constrained")
            FigureCanvasAgg(figure)
            self.on(figure.subplots())
            stream = BytesIO()
            figure.savefig(stream, format="svg", metadata={"Date": None})
        svg = stream.getvalue().decode()
        return "data:image/svg+xml," + quote(svg[svg.index("<svg") :], safe=" /:;=,()<>'")


@dataclass
class Plot:
    """A figure.

    Attributes:
        name: of its files.
        title: in a few words.
        caption: what is seen, to be read without the rest of the page.
        legend: label, colour and marker of what is drawn.
        backbone: shown where this one is chosen in the page; empty: without a choice.
    """

    name: str
    title: str
    caption: str
    panels: list[Panel]
    legend: list[tuple[str, str, str]] = field(default_factory=list)
    backbone: str = ""

    @property
    def symbols(self) -> list[tuple[str, str, str]]:
        """The legend as text: label, colour and symbol."""
        return [(label, colour, MARKERS.get(marker, marker)) for label, colour, marker in self.legend]

    def write(self, folder: Path) -> None:
        """Write all panels with their legend as `<name>.svg` and `<name>.pdf`."""
        columns = min(3, len(self.panels))
        rows = [self.panels[start : start + columns] for start in range(0, len(self.panels), columns)]
        heights = [max(panel.height for panel in row) for row in rows]
        with rc_context(STYLE):
            figure = Figure(figsize=(WIDTH * columns, sum(heights) + 0.5), layout="constrained")
            FigureCanvasAgg(figure)
            axes = list(figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights).flat)
            for axis, panel in zip(axes, self.panels, strict=False):
                panel.on(axis)
            for axis in axes[len(self.panels) :]:
                axis.set_axis_off()
            handles = [
                Line2D([], [], color=colour, marker=marker if marker in MARKERS else "", label=label)
                for label, colour, marker in self.legend
            ]
            if handles:
                figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 3 * columns))
            for form, date in (("svg", "Date"), ("pdf", "CreationDate")):  # without a date: same runs, same file
                figure.savefig(folder / f"{self.name}.{form}", metadata={date: None})


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


def cost_axis(axis: Axes, points: pd.DataFrame, span: pd.Series, metric: str) -> None:
    """GMACs on a logarithmic axis over `span`, and the Pareto front: nothing is both cheaper and better."""
    whole = points[~points["partial"]].sort_values("gmacs")
    affordable = [whole.loc[whole["gmacs"] <= SAME_COST * gmacs, "mean"].max() for gmacs in whole["gmacs"]]
    front = whole[whole["mean"] >= affordable]
    axis.step(front["gmacs"], front["mean"], where="post", color=FRONT, linewidth=5, alpha=0.6, zorder=1)
    axis.scatter(front["gmacs"], front["mean"], s=95, facecolor="none", edgecolor=FRONT, linewidth=2.5, zorder=1)
    low, high = span.min() / 1.15, span.max() * 1.15
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7) if high < 6 * low else (1, 2, 5)))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("GMACs of one image (log)")
    axis.set_ylabel(f"{metric}, %")


def _line(axis: Axes, points: pd.DataFrame, **style: object) -> None:
    """A line with its points; partial ones hollow."""
    axis.errorbar(points["gmacs"], points["mean"], points["std"], markersize=5, linewidth=1.5, elinewidth=1, **style)
    partial = points[points["partial"]]
    axis.plot(partial["gmacs"], partial["mean"], style["marker"], color=style["color"], markersize=5,
              markerfacecolor="white", zorder=4)  # fmt: skip


COST_NOTE = (
    "Left and up is better; grey: the Pareto front of the panel, costs within 1 % taken as equal. Hollow points: "
    "means over fewer backbones than the "
    "others. Bars: standard deviation over the seeds, where there is one backbone."
)


def plugins_against_cost(cells: pd.DataFrame, metric: str, backbone: str = "") -> Plot | None:
    """A panel for each data set: a line for each plug-in setting and size of the reducer with the most cells."""
    cells = cells[cells["gmacs"] > 0]
    if cells["gmacs"].nunique() < 2:
        return None
    reducer = main_reducer(cells)
    cells = cells[cells["reducer"].isin([reducer, "none"])]
    sizes = sorted(cells["image_size"].unique())

    def panel(dataset: str) -> Panel:
        points, who = over_backbones(
            cells[cells["dataset"] == dataset], ["plugins", "image_size", "reducer", "keep_rate"]
        )

        def draw(axis: Axes) -> None:
            for (plugins, size), line in points.groupby(["plugins", "image_size"]):
                number = sizes.index(size)
                _line(axis, line, color=plugin_colour(plugins), marker=list(MARKERS)[number],
                      linestyle="-" if number == len(sizes) - 1 else "--")  # fmt: skip
            cost_axis(axis, points, cells["gmacs"], metric)

        return Panel(f"{dataset} ({who})", draw)

    lines = cells[["plugins", "image_size"]].drop_duplicates()
    legend = [
        (f"{plugins} {size} px", plugin_colour(plugins), list(MARKERS)[sizes.index(size)])
        for plugins in ordered(lines["plugins"], PLUGINS) for size in sizes
        if ((lines["plugins"] == plugins) & (lines["image_size"] == size)).any()
    ]  # fmt: skip
    caption = (
        f"{metric.capitalize()} against GMACs of one image for {reducer}. Each point is a keep rate, from the lowest "
        "on the "
        f"left to no reduction on the right; mean over seeds and backbones. {COST_NOTE}"
    )
    panels = [panel(dataset) for dataset in ordered(cells["dataset"], DATASETS)]
    return Plot("accuracy_gmacs", f"Plug-ins and image sizes of {reducer}", caption, panels, legend, backbone)


def reducers_against_cost(cells: pd.DataFrame, metric: str, backbone: str = "") -> Plot | None:
    """A panel for each data set, size and plug-in setting with other reducers than the main one: a line for each."""
    cells = cells[cells["gmacs"] > 0]
    others = set(cells["reducer"]) - {"none", main_reducer(cells)} if len(cells) else set()
    if not others:
        return None
    reducers = ordered(cells["reducer"], REDUCERS)
    styles = {name: (COLOURS[number % len(COLOURS)], list(MARKERS)[number % len(MARKERS)])
              for number, name in enumerate(reducers)}  # fmt: skip
    groups = [
        (key, part)
        for key, part in cells.groupby(["image_size", "dataset", "plugins"])
        if others & set(part["reducer"])
    ]
    groups.sort(key=lambda group: (*group[0][:2], PLUGINS.index(group[0][2]) if group[0][2] in PLUGINS else 9))
    drawn = [(key, *over_backbones(part, ["reducer", "keep_rate"])) for key, part in groups]
    span = pd.concat([points["gmacs"] for _, points, _ in drawn])
    limits: dict[tuple, list[float]] = {}
    for key, points, _ in drawn:  # the same scale for the same data set, so that plug-ins can be compared
        limits.setdefault(key[:2], []).extend(points["mean"])

    def panel(key: tuple, points: pd.DataFrame, who: str) -> Panel:
        def draw(axis: Axes) -> None:
            for reducer, line in points.groupby("reducer"):
                colour, marker = styles[reducer]
                _line(axis, line, color=colour, marker=marker)
            cost_axis(axis, points, span, metric)
            low, high = min(limits[key[:2]]), max(limits[key[:2]])
            margin = 0.06 * (high - low) or 1.0
            axis.set_ylim(low - margin, high + margin)

        return Panel(f"{key[1]}, {key[0]} px, {key[2]} ({who})", draw)

    caption = (
        f"{metric.capitalize()} against GMACs of one image for each reducer. Each point is a keep rate; mean over "
        "seeds and "
        f"backbones. The panels of one data set have the same scale. {COST_NOTE}"
    )
    legend = [(name, *styles[name]) for name in reducers]
    return Plot("reducers_gmacs", "Reducers", caption, [panel(*group) for group in drawn], legend, backbone)


def plugin_colour(name: str) -> str:
    return PLUGIN_COLOURS.get(name, "#882255")


def main_reducer(cells: pd.DataFrame) -> str:
    """The reducer of most cells."""
    reduced = cells.loc[cells["reducer"] != "none", "reducer"]
    return reduced.value_counts().index[0] if len(reduced) else "none"


def ablation(cells: pd.DataFrame, metric: str) -> Plot | None:
    """A panel for each data set and size: bars for the plug-in settings of the main reducer at each keep rate."""
    reducer = main_reducer(cells)
    cells = cells[cells["reducer"].isin([reducer, "none"]) & (cells["plugins"] != "ifa")]
    groups = [(key, part) for key, part in cells.groupby(["image_size", "dataset"]) if part["plugins"].nunique() > 1]
    if not groups:
        return None

    def panel(size: int, dataset: str, part: pd.DataFrame) -> Panel:
        points, who = over_backbones(part, ["plugins", "reducer", "keep_rate"])
        places = list(points[["reducer", "keep_rate"]].drop_duplicates().itertuples(index=False, name=None))
        places.sort(key=lambda place: (place[0] == "none", place[1]))
        names = ordered(points["plugins"], PLUGINS)
        width = 0.8 / len(names)

        def draw(axis: Axes) -> None:
            for number, plugins in enumerate(names):
                bars = points[points["plugins"] == plugins]
                keys = zip(bars["reducer"], bars["keep_rate"], strict=True)
                where = [places.index(key) + (number - (len(names) - 1) / 2) * width for key in keys]
                axis.bar(where, bars["mean"], width * 0.92, yerr=bars["std"], color=plugin_colour(plugins))
            axis.set_xticks(range(len(places)), ["none" if name == "none" else rate for name, rate in places])
            axis.set_xlabel("keep rate")
            axis.set_ylabel(f"{metric}, %")
            axis.grid(axis="x", visible=False)

        return Panel(f"{dataset}, {size} px ({who})", draw)

    caption = (
        f"{metric.capitalize()} of {reducer} with neither plug-in (base), the aggregation head (cla), the cache "
        "(clc) and "
        "both (clca) at each keep rate, mean over seeds and backbones. A setting without runs has no bar. Whiskers: "
        "standard deviation over the seeds, where there is one backbone."
    )
    used = ordered(pd.concat([part for _, part in groups])["plugins"], PLUGINS)
    legend = [(name, plugin_colour(name), "s") for name in used]
    return Plot("ablation", "Ablation of the plug-ins", caption, [panel(*key, part) for key, part in groups], legend)


def difference_intervals(differences: Table | None, metric: str) -> Plot | None:
    """A panel for each image size: mean difference and interval for each reducer and keep rate."""
    if differences is None:
        return None

    def panel(size: float, part: pd.DataFrame) -> Panel:
        def draw(axis: Axes) -> None:
            places = range(len(part), 0, -1)
            errors = np.stack([part["mean"] - part["low"], part["high"] - part["mean"]])
            axis.errorbar(part["mean"], places, xerr=errors, fmt="o", color=PLUGIN_COLOURS["clca"], capsize=3)
            axis.axvline(0, color="black", linewidth=1)
            names = [
                f"{row.reducer} {'' if row.reducer == 'none' else row.keep_rate}".strip() for row in part.itertuples()
            ]
            axis.set_yticks(places, [f"{name} ({n})" for name, n in zip(names, part["units"], strict=True)])
            axis.set_ylim(0.3, len(part) + 0.7)
            axis.set_xlabel("CLCA minus base, points")

        return Panel(f"{int(size)} px", draw, 1.0 + 0.2 * len(part))

    caption = (
        f"Mean paired difference of {metric}, CLCA minus base, with its {LEVEL} % bootstrap interval, by reducer and "
        "keep "
        "rate; in brackets the number of pairs. Right of the line CLCA is better."
    )
    groups = differences.values.dropna(subset=["reducer"]).groupby("image_size")
    return Plot("differences", "Paired differences", caption, [panel(size, part) for size, part in groups])


def gradients_by_step(runs: pd.DataFrame, gradients: pd.DataFrame) -> Plot | None:
    """A panel for each cell but for its plug-ins: the largest gradient of each step, a line for each setting."""
    keys = ["dataset", "backbone", "image_size", "reducer", "keep_rate", "variant"]
    curves = gradients.merge(runs[[*keys, "plugins", "run"]], on="run")
    if curves.empty:
        return None
    groups = sorted(curves.groupby(keys), key=lambda group: -group[1]["plugins"].nunique())

    def panel(
        dataset: str, backbone: str, size: int, reducer: str, rate: str, variant: str, part: pd.DataFrame
    ) -> Panel:
        def draw(axis: Axes) -> None:
            for plugins in ordered(part["plugins"], PLUGINS):
                steps = part[part["plugins"] == plugins].groupby("step")["grad_max"]
                line, colour = steps.mean(), plugin_colour(plugins)
                axis.plot(line.index, line, color=colour, linewidth=1.4)
                axis.fill_between(line.index, steps.min(), steps.max(), color=colour, alpha=0.15, linewidth=0)
            axis.set_yscale("log")
            axis.set_xlabel("step")
            axis.set_ylabel("largest |gradient|")

        name = f"{dataset}, {backbone}, {size} px, {reducer} {rate}" + (f", variant {variant}" if variant else "")
        return Panel(name, draw)

    unseen = len(groups) - MOST_CURVES
    caption = (
        "Largest absolute gradient of the steps of training, averaged over short stretches; line: mean over the seeds, "
        "band: from the smallest to the largest. gradients.csv has the mean gradients too"
        + (f", and the curves of {unseen} more panels." if unseen > 0 else ".")
    )
    legend = [(name, plugin_colour(name), "━") for name in ordered(curves["plugins"], PLUGINS)]
    panels = [panel(*key, part) for key, part in groups[:MOST_CURVES]]
    return Plot("gradients", "Gradients", caption, panels, legend)


def accuracy_against_speed(cells: pd.DataFrame, runs: pd.DataFrame, metric: str) -> Plot | None:
    """A panel for each data set, size and device: a point for each cell whose speed was measured."""
    measured = runs.dropna(subset=["images_per_second"]).replace({"device": {"": "device not named"}})
    keys = ["backbone", "reducer", "keep_rate", "plugins", "variant"]
    names = ["dataset", "image_size", "device"]
    points = measured.groupby([*names, *keys])[["images_per_second", "top1"]].mean().reset_index()
    points = points.merge(cells[[*names[:2], *keys]].drop_duplicates(), on=[*names[:2], *keys])
    if len(points[["reducer", "keep_rate", "plugins"]].drop_duplicates()) < 2:
        return None
    reducers = ordered(points["reducer"], REDUCERS)
    markers = {name: list(MARKERS)[number % len(MARKERS)] for number, name in enumerate(reducers)}

    def panel(dataset: str, size: int, device: str, part: pd.DataFrame) -> Panel:
        def draw(axis: Axes) -> None:
            for (plugins, reducer), some in part.groupby(["plugins", "reducer"]):
                colour = plugin_colour(plugins)
                axis.scatter(some["images_per_second"], some["top1"], color=colour, marker=markers[reducer], s=40)
            for row in part.itertuples() if len(part) <= NUMBERED else ():
                axis.annotate(row.keep_rate, (row.images_per_second, row.top1), fontsize=8, xytext=(5, 4),
                              textcoords="offset points")  # fmt: skip
            axis.set_xlabel("images per second in the test pass")
            axis.set_ylabel(f"{metric}, %")
            axis.margins(0.15)

        return Panel(f"{dataset}, {size} px, {device}", draw)

    caption = (
        f"{metric.capitalize()} against the measured speed of the test pass, mean over seeds, each device by itself; "
        "up to "
        f"{NUMBERED} points have their keep rates beside them. Right and up is better."
    )
    legend = [(name, plugin_colour(name), "s") for name in ordered(points["plugins"], PLUGINS)]
    legend += [(name, "#555555", markers[name]) for name in reducers]
    panels = [panel(*key, part) for key, part in points.groupby(names)]
    return Plot("speed", "Accuracy against measured speed", caption, panels, legend)
