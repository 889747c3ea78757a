"""One figure for one image: the input, a panel for each stage, the attention of CLS, and a legend."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ufgir.pictures.look import AttentionLook, Look
from ufgir.pictures.paint import ATTENTION, SHARE, enlarged, paint_patches, paint_values
from ufgir.pictures.patches import Fate

PANEL = 384  # pixels, about: an image is enlarged a whole number of times, and everything else with it
GAP, HEAD, FOOT, ABOVE, BELOW = 36, 96, 56, 78, 92  # between panels, and for what stands around them, for that PANEL
FEWEST, MOST = 3, 5  # columns
DPI = 100
TEXT, SMALL = 13, 11.5  # points
LETTER = 8.5  # pixels, about, of a letter of TEXT
WEIGHTS, DOWN = ("bold", "normal", "normal"), (26, 54, 80)  # of the lines at the head, and where they are
EXPLAINED = {
    Fate.KEPT: ("none", "0.4", "as it is: kept, a token of its own"),
    Fate.DROPPED: ("0.2", "0.2", "dark grey: dropped"),
    Fate.MERGED: ("0.7", "#d02020", "flat and outlined: merged to a mean, one colour for each token"),
    Fate.FUSED: (SHARE(0.8), "none", "blue: in a fused token, brighter where its share is larger"),
    Fate.MIXED: (SHARE(0.8), "none", "blue: spread over several tokens, brighter where its share of them is larger"),
}


@dataclass(frozen=True)
class Subject:
    """What stands above the panels.

    Attributes:
        title: which image it is.
        verdict: what the model says about it, and what is true.
        model: which model, and what it costs.
    """

    title: str
    verdict: str
    model: str


@dataclass(frozen=True)
class Panel:
    """A picture with what stands above and below it.

    Attributes:
        picture: pixels of it.
        title, text: above it.
        top: the largest value of its colour bar; 0 without one.
        colours, meaning: of that bar.
    """

    picture: np.ndarray
    title: str
    text: str
    top: float = 0
    colours: Colormap | None = None
    meaning: str = ""


def figure_of(look: Look, subject: Subject) -> bytes:
    """The figure as a PNG file."""
    panels = _panels(look)
    side = panels[0].picture.shape[0]
    scale = side / PANEL
    gap, head, foot, above, below = (round(scale * length) for length in (GAP, HEAD, FOOT, ABOVE, BELOW))
    columns = min(MOST, len(panels))
    rows = -(-len(panels) // columns)
    width, row = max(FEWEST, columns) * (side + gap) + gap, above + side + below
    height = head + rows * row + foot
    figure = Figure(figsize=(width / DPI / scale, height / DPI / scale), dpi=DPI * scale)
    FigureCanvasAgg(figure)
    letters = int(width / scale / LETTER)
    for text, weight, down in zip((subject.title, subject.verdict, subject.model), WEIGHTS, DOWN, strict=True):
        text = text if len(text) <= letters else f"{text[: letters - 1]}…"
        figure.text(gap / width, 1 - down * scale / height, text, fontsize=TEXT, fontweight=weight, parse_math=False)
    for number, panel in enumerate(panels):
        left, down = gap + number % columns * (side + gap), head + number // columns * row + above
        # One pixel of the picture is one of the figure: nothing is resampled, and every border is sharp.
        axes = figure.add_axes((left / width, 1 - (down + side) / height, side / width, side / height))
        _show(figure, axes, panel, scale)
    _explain(figure, look, gap / width)
    stream = BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _panels(look: Look) -> list[Panel]:
    large = enlarged(look.pixels, max(1, round(PANEL / look.pixels.shape[0])))
    count = look.prefix + look.grid[0] * look.grid[1]
    patch = f"{look.pixels.shape[0] // look.grid[0]} x {look.pixels.shape[1] // look.grid[1]} pixels"
    entering = f"{_prefix(look)}, {look.grid[0]} x {look.grid[1]} patches\nof {patch}: {count} tokens"
    return [
        Panel(large, "input, as the model sees it", entering),
        *(_stage_panel(look, number, large) for number in range(len(look.stages))),
        _attention_panel(look, large),
    ]


def _stage_panel(look: Look, number: int, large: np.ndarray) -> Panel:
    stage, title = look.stages[number], f"stage {number + 1}, after block {look.stages[number].layer}"
    patches, count = stage.patches, look.prefix + look.grid[0] * look.grid[1]
    picture = paint_patches(large, look.grid, patches, line=max(2, large.shape[0] // look.grid[0] // 10))
    words = {
        Fate.KEPT: ("patch", "patches"),
        Fate.MERGED: ("merged", "merged"),
        Fate.FUSED: ("fused", "fused"),
        Fate.MIXED: ("mixed", "mixed"),
        Fate.RECOVERED: ("from the cache", "from the cache"),
    }
    parts = [f"{tokens} {words[fate][tokens > 1]}" for fate in words if (tokens := patches.count(fate))]
    text = f"{stage.tokens} of {count} tokens left:\n{', '.join([_prefix(look), *parts])}"
    by_share = patches.share[(patches.fate == Fate.FUSED) | (patches.fate == Fate.MIXED)]
    if not len(by_share):
        return Panel(picture, title, text)
    whole = "all mixed tokens" if patches.count(Fate.MIXED) else "its fused token"
    return Panel(picture, title, text, by_share.max(), SHARE, f"share in {whole}, %")


def _attention_panel(look: Look, large: np.ndarray) -> Panel:
    attention = look.attention
    picture = paint_values(large, look.grid, attention.patches, ATTENTION)
    text = f"mean over heads:\n{_parts_of(look, attention)}"
    title = f"attention of CLS in block {attention.layer}"
    return Panel(picture, title, text, attention.patches.max(), ATTENTION, "attention to each patch, %")


def _parts_of(look: Look, attention: AttentionLook) -> str:
    prefix = "CLS" if look.prefix == 1 else "CLS and registers"
    parts = {"patches": attention.patches.sum(), prefix: attention.prefix, "from the cache": attention.cache}
    return ", ".join(f"{part:.0%} {name}" for name, part in parts.items() if part > 0)


def _prefix(look: Look) -> str:
    return "CLS" if look.prefix == 1 else f"CLS, {look.prefix - 1} registers"


def _show(figure: Figure, axes: Axes, panel: Panel, scale: float) -> None:
    axes.imshow(panel.picture, interpolation="none", aspect="auto")
    axes.set_axis_off()
    axes.text(0, -52 * scale, panel.title, fontsize=TEXT, fontweight="bold", va="bottom")
    axes.text(0, -8 * scale, panel.text, fontsize=SMALL, va="bottom", linespacing=1.3)
    if not panel.top:
        return
    bar = axes.inset_axes((0, -22 / PANEL, 1, 12 / PANEL))
    scale = ScalarMappable(Normalize(0, 100 * panel.top), panel.colours)
    ticks = MaxNLocator(4)
    figure.colorbar(scale, cax=bar, orientation="horizontal", ticks=ticks).set_label(panel.meaning, fontsize=SMALL)
    bar.tick_params(labelsize=SMALL)


def _explain(figure: Figure, look: Look, left: float) -> None:
    """A legend of what occurs in this figure."""
    seen = {fate for stage in look.stages for fate in np.unique(stage.patches.fate)}
    handles = [
        Patch(facecolor=face, edgecolor=edge, linewidth=2, label=label)
        for fate, (face, edge, label) in EXPLAINED.items()
        if fate in seen
    ]
    if handles:
        where = {"loc": "lower left", "bbox_to_anchor": (left, 0), "borderaxespad": 0.4, "borderpad": 0.4}
        figure.legend(handles=handles, ncols=len(handles), fontsize=TEXT, frameon=False, **where)
