"""Figures of a benchmark: how much of the saving becomes speed, and how time and memory grow with the sequence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ufgir.benchmarks.contenders import EXPLICIT, OURS, UNREDUCED
from ufgir.reports.drawing import COLOURS, MARKERS, Picture, legend, panels, picture

SERIES = {OURS: "", UNREDUCED: f"{UNREDUCED}_", EXPLICIT: f"{EXPLICIT}_"}  # prefixes of their columns
TITLES = {"eval": "evaluation", "train": "training step"}
LABELS = {OURS: "reduced", UNREDUCED: "timm, unreduced", EXPLICIT: "reduced, explicit attention"}


def figures(rows: Sequence[dict[str, Any]]) -> list[Picture]:
    """The saving of each row and, of one model at three image sizes or more, growth with the size."""
    frame = pd.DataFrame(rows).sort_values("image_size", kind="stable")
    drawn = [
        picture(
            "realised", "Speed-up against saved MACs",
            "On the dashed line all that is saved becomes speed. Bars: 95 % interval of the median.",
            lambda columns: _realised(frame, columns),
        )
    ]  # fmt: skip
    # Sizes of several models in one line would mean nothing.
    if frame["image_size"].nunique() >= 3 and not frame.duplicated(["mode", "image_size"]).any():
        exponents = growth(frame)
        drawn.append(
            picture(
                "growth", "Time and memory of one image as it grows",
                "Both axes are logarithmic; the legend names the slope a: time or memory ~ side^a.",
                lambda columns: _growth(frame, exponents, columns),
            )
        )  # fmt: skip
    return drawn


def growth(frame: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Fitted exponent a of `figure ~ side^a`, by (mode, contender, `ms` or `peak_memory_gb`), over the image sizes.

    A sequence has side² / patch² tokens, so the exponent in tokens is half of it.
    """
    found = {}
    for mode, part in frame.groupby("mode"):
        for name, prefix in SERIES.items():
            for figure in ("ms", "peak_memory_gb"):
                values = part[f"{prefix}{figure}"] / part["batch_size"]
                found[mode, name, figure] = float(np.polyfit(np.log(part["image_size"]), np.log(values), 1)[0])
    return found


def _realised(frame: pd.DataFrame, columns: int) -> Figure:
    modes = list(frame["mode"].unique())
    figure, axes = panels([3.4] * len(modes), min(columns, len(modes)), 4.8)
    for ax, mode in zip(axes, modes, strict=True):
        part = frame[frame["mode"] == mode]
        top = 1.1 * max(part["macs_ratio"].max(), part["speedup_high"].max())
        ax.plot([0, top], [0, top], "--", color="#888888", linewidth=1)
        for number, (name, points) in enumerate(part.groupby("reducer", sort=False)):
            errors = np.abs(points[["speedup_low", "speedup_high"]].to_numpy().T - points["speedup"].to_numpy())
            ax.errorbar(
                points["macs_ratio"], points["speedup"], errors, fmt=MARKERS[number % len(MARKERS)], capsize=2,
                color=COLOURS[number % len(COLOURS)], label=name,
            )  # fmt: skip
        ax.set(title=TITLES[mode], xlabel="MACs of unreduced ÷ reduced", ylabel="time of unreduced ÷ reduced")
        ax.set(xlim=(0, top), ylim=(0, top))
    legend(figure, axes, columns)
    return figure


def _growth(frame: pd.DataFrame, exponents: dict[tuple[str, str, str], float], columns: int) -> Figure:
    kinds = [(mode, figure) for mode in frame["mode"].unique() for figure in ("ms", "peak_memory_gb")]
    figure, axes = panels([3.4] * len(kinds), min(columns, 2), 4.8)
    for ax, (mode, name) in zip(axes, kinds, strict=True):
        _grow(ax, frame[frame["mode"] == mode], mode, name, exponents)
    return figure


def _grow(ax: Axes, part: pd.DataFrame, mode: str, figure: str, exponents: dict[tuple[str, str, str], float]) -> None:
    """One panel: a line for each contender."""
    for number, (name, prefix) in enumerate(SERIES.items()):
        of_one = part[f"{prefix}{figure}"] / part["batch_size"]
        label = f"{LABELS[name]}: slope {exponents[mode, name, figure]:.2f}"
        ax.plot(part["image_size"], of_one, marker=MARKERS[number], color=COLOURS[number], label=label)
    unit = "ms of one image" if figure == "ms" else "peak GB of one image"
    ax.set(xscale="log", yscale="log", title=TITLES[mode], xlabel="image size, pixels", ylabel=unit)
    ax.set_xticks(part["image_size"], [str(size) for size in part["image_size"]])
    ax.minorticks_off()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.legend(fontsize=8)
