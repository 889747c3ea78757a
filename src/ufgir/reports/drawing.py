"""What all figures share: colours that the colour-blind can tell apart, panels, and files in every form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's colours. The plug-ins keep theirs in all figures.
PLUGIN_COLOURS = {"base": "#555555", "cla": "#E69F00", "clc": "#56B4E9", "clca": "#0072B2", "ifa": "#CC79A7"}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
STYLE = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
    "axes.titlesize": 10, "axes.titleweight": "bold", "axes.axisbelow": True, "legend.frameon": False,
    "svg.hashsalt": "ufgir", "svg.fonttype": "path", "figure.constrained_layout.use": True,
}  # fmt: skip
WIDE, NARROW = 3, 1  # panels beside each other, on paper and on a phone
PANEL = (3.7, 2.9)  # inches, in rows of three
HALF = (5.5, 3.2)  # in rows of two


@dataclass
class Picture:
    """A drawn figure.

    Attributes:
        name: of its files.
        title: in a few words.
        caption: what is seen, to be read without the rest of the page.
        svg, narrow_svg, png: the drawing, for a desktop, a phone and a document.
    """

    name: str
    title: str
    caption: str
    svg: bytes
    narrow_svg: bytes
    png: bytes

    def write(self, folder: Path) -> None:
        """Write `<name>.svg` and `<name>.png` into a folder."""
        (folder / f"{self.name}.svg").write_bytes(self.svg)
        (folder / f"{self.name}.png").write_bytes(self.png)


def picture(name: str, title: str, caption: str, draw: Callable[[int], Figure]) -> Picture:
    """Draw a figure in all its forms.

    Args:
        draw: takes the number of panels beside each other.
    """
    with rc_context(STYLE):
        wide, narrow = draw(WIDE), draw(NARROW)
        return Picture(name, title, caption, _saved(wide, "svg"), _saved(narrow, "svg"), _saved(wide, "png"))


def panels(heights: Sequence[float], columns: int, width: float) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each height (inches), at most `columns` of a width beside each other.

    Panels beside each other are as high as the highest of them. A single column is as wide as a phone takes.
    """
    width = PANEL[0] if columns == NARROW else width
    columns = min(columns, len(heights))
    count, rows = len(heights), [max(heights[i : i + columns]) for i in range(0, len(heights), columns)]
    figure = Figure(figsize=(width * columns, sum(rows) + 0.6))  # 0.6 for the legend
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(len(rows), columns, squeeze=False, height_ratios=rows).flat)
    for empty in axes[count:]:
        empty.set_axis_off()
    return figure, axes[:count]


def legend(figure: Figure, axes: Sequence[Axes], columns: int) -> None:
    """One legend above all panels, each label once, its rows of equal length; none where nothing has a label."""
    handles = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if not handles:
        return
    narrow = 2 if any(len(label) > 8 for label in handles) else 3
    rows = -(-len(handles) // (narrow if columns == NARROW else 6))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=-(-len(handles) // rows))


def over_backbones(part: pd.DataFrame, point: list[str]) -> tuple[pd.DataFrame, str]:
    """Means over the backbones that have every point of a panel, so that no two points are means over different ones.

    A point that fewer than half of the backbones have is left out: it would leave no backbone for the others. Where
    that would be all of them, as with backbones of different keep rates, they all stay.

    Args:
        part: cells of a panel, at least one.
        point: columns that tell its points apart.

    Returns:
        `point`, `mean`, `std`, `gmacs`, in the order of GMACs; and which backbones these are.
    """
    holders = part.groupby(point)["backbone"].transform("nunique")
    shared = part[holders >= part["backbone"].nunique() / 2]
    part = shared if len(shared) else part
    present = part.groupby("backbone")[point].apply(lambda cells: len(cells.drop_duplicates()))
    complete = present[present == len(part[point].drop_duplicates())].index
    used = part[part["backbone"].isin(complete)] if len(complete) else part
    names = used["backbone"].unique()
    # One backbone has a spread over its seeds; over several, a mean of spreads would say little.
    std = "mean" if len(names) == 1 else (lambda spreads: float("nan"))
    points = used.groupby(point).agg(mean=("mean", "mean"), std=("std", std), gmacs=("gmacs", "mean")).reset_index()
    text = names[0] if len(names) == 1 else f"{len(names)} backbones"
    return points.sort_values("gmacs"), text if len(complete) else f"{text}, not all at every point"


def _saved(figure: Figure, form: str) -> bytes:
    stream = BytesIO()
    # Without a date, the same runs give the same file.
    figure.savefig(stream, format=form, dpi=160, metadata={"Date": None} if form == "svg" else {"Software": None})
    return stream.getvalue()
