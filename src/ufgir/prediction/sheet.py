"""An annotated sheet: images with what the model takes them for."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from ufgir.prediction.answers import Answer
from ufgir.prediction.canvas import DARK, FRAME, LIGHT, RIGHT, blank, fitting, font, squared

MOST = 48  # images on a sheet: more cannot be looked at
COLUMNS, SIDE, GAP, HEAD = 6, 200, 16, 56  # pixels, but for the columns
LINES = 3  # guesses below an image
LINE = 20  # height of a line of text, pixels


def prediction_sheet(
    answered: Sequence[tuple[Path, Answer]], total: int, class_names: Sequence[str], model: str
) -> Image.Image:
    """A cell for each image: the image, its file, and its three likeliest classes with bars as long as they are likely.

    Args:
        answered: images and answers, those to be shown.
        total: images that were classified; the heading says if not all are shown.
        class_names: by class id.
        model: name of what classified them.
    """
    columns = min(COLUMNS, max(3, len(answered)))
    rows = -(-len(answered) // columns)
    height = SIDE + (LINES + 1) * LINE + GAP + 8
    sheet, pen = blank(columns * (SIDE + GAP) + GAP, HEAD + rows * height + GAP)
    images = f"{total:,} image{'s' * (total != 1)}"
    shown = images if len(answered) == total else f"The first {len(answered)} of {images}"
    width = sheet.width - 2 * GAP
    pen.text((GAP, 10), fitting(f"{shown}, classified by {model}", width, font(18, True)), DARK, font(18, True))
    legend = "below each image: its file, then the likeliest classes; a bar is as long as its class is likely"
    pen.text((GAP, 34), fitting(legend, width, font(12)), LIGHT, font(12))
    for number, (path, answer) in enumerate(answered):
        row, column = divmod(number, columns)
        corner = GAP + column * (SIDE + GAP), HEAD + row * height
        sheet.paste(squared(path, SIDE), corner)
        _annotate(pen, corner, path, answer, class_names)
    return sheet


def _annotate(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], path: Path, answer: Answer, class_names: Sequence[str]
) -> None:
    left, top = corner[0], corner[1] + SIDE + 4
    pen.text((left, top), fitting("/".join(path.parts[-2:]), SIDE, font(12)), LIGHT, font(12))
    guesses = list(zip(answer.classes, answer.probabilities, strict=True))[:LINES]
    for rank, (number, probability) in enumerate(guesses):
        y, face = top + (rank + 1) * LINE, font(13, rank == 0)
        percent = f"{100 * probability:.0f} %"
        pen.rectangle((left, y, left + SIDE - 1, y + LINE - 4), FRAME)
        pen.rectangle((left, y, left + round((SIDE - 1) * probability), y + LINE - 4), "#b9d9ee" if rank else "#86c1e6")
        room = SIDE - 10 - face.getlength(percent)
        pen.text((left + 3, y), fitting(class_names[number], room, face), LIGHT if rank else DARK, face)
        pen.text((left + SIDE - 3, y), percent, RIGHT if rank == 0 else LIGHT, face, anchor="ra")
