"""One model at several keep rates: accuracy against cost, as a table and a picture."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ufgir.evaluation.places import rate_text
from ufgir.reports.drawing import COLOURS, Picture, panels, picture

COLUMNS = [
    "keep_rate", "test_top1", "test_top5", "test_loss", "gmacs", "images_per_second", "test_images", "image_size",
]  # fmt: skip


def curve_table(points: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row for each keep rate, the cheapest first; rates of several stages are separated by spaces."""
    frame = pd.DataFrame([{**point, "keep_rate": rate_text(point["keep_rate"])} for point in points])[COLUMNS]
    return frame.sort_values("gmacs", kind="stable", ignore_index=True)


def curve_picture(table: pd.DataFrame, trained_rate: float | list[float], title: str, classes: int) -> Picture:
    """Top-1 against GMACs, each point with its keep rate; a ring around the one of the training.

    Args:
        table: of `curve_table`.
        trained_rate: keep rate of the training.
        title: what was tested on what.
        classes: number of classes, for the line of chance.
    """

    def draw(columns: int) -> Figure:
        figure, (axis,) = panels([4.2], 1, 6.5)
        figure.set_size_inches(6.5 if columns > 1 else 3.7, 4.6)
        axis.plot(table["gmacs"], table["test_top1"], marker="o", color=COLOURS[0], label="these weights")
        own = table[table["keep_rate"] == rate_text(trained_rate)]
        if len(own):
            style = dict(linestyle="", marker="o", markersize=14, markerfacecolor="none", color=COLOURS[1])
            label = f"keep rate of the training, {rate_text(trained_rate)}"
            axis.plot(own["gmacs"], own["test_top1"], label=label, **style)
        axis.axhline(100 / classes, color="#888888", linestyle=":", linewidth=1, label=f"chance, {100 / classes:.1f} %")
        for row in table.itertuples():
            place = dict(xytext=(0, 9), textcoords="offset points", ha="center", fontsize=9)
            axis.annotate(row.keep_rate, (row.gmacs, row.test_top1), **place)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("GMACs of one image (beside each point: keep rate)")
        axis.set_ylabel("test top-1, %")
        axis.margins(0.1, 0.2)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=9)
        return figure

    caption = "Test top-1 of the same weights at several keep rates, against the GMACs of one image."
    return picture("keep_rates", "Keep-rate transfer", caption, draw)
