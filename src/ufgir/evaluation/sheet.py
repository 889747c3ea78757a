"""The most frequent mix-ups as a contact sheet: what was mistaken, beside what it was mistaken for."""

from pathlib import Path

import pandas as pd
from PIL import Image, ImageDraw

from ufgir.data import Source
from ufgir.prediction.canvas import DARK, LIGHT, RIGHT, WRONG, blank, fitting, font, squared

PAIRS, EXAMPLES = 8, 3  # rows, and images on each side
SIDE, GAP, MIDDLE, LABEL, HEAD = 150, 8, 44, 50, 64  # pixels


def confusion_sheet(pairs: pd.DataFrame, images: pd.DataFrame, source: Source) -> Image.Image:
    """A row for each pair: at the left the images that were mistaken, at the right images of the other class.

    Args:
        pairs: of `tables.mix_ups`.
        images: of `tested.Tested`.
        source: for images of classes of which none was recognised.
    """
    shown = pairs.head(PAIRS)
    half = EXAMPLES * (SIDE + GAP) - GAP
    sheet, pen = blank(2 * half + MIDDLE + 4 * GAP, HEAD + max(1, len(shown)) * (LABEL + SIDE + 2 * GAP))
    wrong, columns = int((~images["correct"].astype(bool)).sum()), (2 * GAP, 2 * GAP + half + MIDDLE)
    counts = f"{wrong:,} of {len(images):,} test images are wrong, in {len(pairs):,} pairs of classes"
    head = f"Most frequent mix-ups: {counts}"
    _line(pen, (columns[0], 10), head, sheet.width - 4 * GAP, DARK, 17, bold=True)
    _line(pen, (columns[0], 36), "left: test images that were mistaken", half, WRONG, 13)
    _line(pen, (columns[1], 36), "right: what their class was taken for", half, RIGHT, 13)
    if shown.empty:
        _line(pen, (columns[0], HEAD + GAP), "No image was taken for another class.", half, DARK, 15)
    for row, pair in enumerate(shown.itertuples()):
        top = HEAD + row * (LABEL + SIDE + 2 * GAP)
        _draw_pair(sheet, pen, top, columns, pair, images, source)
    return sheet


def _draw_pair(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, top: int, columns: tuple[int, int], pair, images, source: Source
) -> None:
    half = EXAMPLES * (SIDE + GAP) - GAP
    mistaken = images[(images["class_id"] == pair.class_id) & (images["taken_for"] == pair.taken_for)]
    mistaken = mistaken.sort_values("sureness", ascending=False)["path"].tolist()
    others, kind = _examples(pair.taken_for, images, source)
    whole = f"{pair.images} test image{'s' * (pair.images != 1)}"
    times = f"{pair.times} of its {whole}, mean probability {100 * pair.sureness:.0f} %"
    pen.line((columns[0], top, sheet.width - 2 * GAP, top), "#cccccc")
    _line(pen, (columns[0], top + 6), source.class_names[pair.class_id], half, WRONG, 15, bold=True)
    _line(pen, (columns[0], top + 27), times, half, LIGHT, 12)
    _line(pen, (columns[1], top + 6), f"taken for {source.class_names[pair.taken_for]}", half, RIGHT, 15, bold=True)
    _line(pen, (columns[1], top + 27), kind, half, LIGHT, 12)
    for paths, left in ((mistaken, columns[0]), (others, columns[1])):
        for number, path in enumerate(paths[:EXAMPLES]):
            sheet.paste(squared(path, SIDE), (left + number * (SIDE + GAP), top + LABEL))
    centre = columns[1] - MIDDLE // 2, top + LABEL + SIDE // 2
    pen.polygon([(centre[0] - 9, centre[1] - 12), (centre[0] + 11, centre[1]), (centre[0] - 9, centre[1] + 12)], LIGHT)


def _examples(class_id: int, images: pd.DataFrame, source: Source) -> tuple[list[Path], str]:
    """Images of a class and what they are: of the test, recognised ones first; where these are few, of the training."""
    own = images[images["class_id"] == class_id]
    tested = own.sort_values(["correct", "sureness"], ascending=False)["path"].tolist()[:EXAMPLES]
    trained = source.paths(source.train[source.train["class_id"] == class_id])[: EXAMPLES - len(tested)]
    counts = [f"{len(paths)} {kind}" for paths, kind in ((tested, "test"), (trained, "training")) if paths]
    return tested + trained, f"{' and '.join(counts)} images of it"


def _line(pen, place: tuple[int, int], text: str, width: int, colour: str, size: int, bold: bool = False) -> None:
    face = font(size, bold)
    pen.text(place, fitting(text, width, face), colour, face)
