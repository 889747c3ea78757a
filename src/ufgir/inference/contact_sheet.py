"""Contact sheets: images with what a model takes them for, and the pairs of classes that it confuses most often."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas as pd
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ufgir.data import Splits
from ufgir.data.images import load_image
from ufgir.training.predictions import Prediction

DARK, LIGHT, RIGHT, WRONG, FRAME = "#1a1a1a", "#666666", "#0072B2", "#C4450C", "#f0f0f0"
MAX_IMAGES = 48  # on a sheet of predictions
PAIRS, EXAMPLES = 8, 3  # rows of a sheet of confusions, and images on each side


class Sheet:
    """A white image to write and paste on; lengths are pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), "white")
        self.pen = ImageDraw.Draw(self.image)

    def text(self, place: tuple[int, int], text: str, width: float, color: str, size: int, bold: bool = False) -> None:
        """A line of text; its middle is left out where it is wider than `width`."""
        face = _font(size, bold)
        text, kept = "".join(letter if letter.isprintable() else "?" for letter in text), len(text)
        shown = text
        while face.getlength(shown) > width and kept > 2:
            kept -= 1
            shown = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        self.pen.text(place, shown, color, face)

    def picture(self, place: tuple[int, int], path: Path, side: int) -> None:
        """An image file, whole and undistorted, on a light square. A file that cannot be read leaves it empty."""
        square = Image.new("RGB", (side, side), FRAME)
        try:
            picture = ImageOps.contain(load_image(path), (side, side), Image.Resampling.LANCZOS)
            square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        except (OSError, ValueError):
            pass
        self.image.paste(square, place)


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """DejaVu Sans comes with matplotlib and has the letters of most alphabets."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", name)), size)


def prediction_sheet(
    predictions: Sequence[tuple[Path, Prediction]], total: int, class_names: Sequence[str], model: str
) -> Image.Image:
    """Images with their files and their three most probable classes, with bars as long as these are probable.

    Args:
        predictions: those to be shown.
        total: images that were classified.
        class_names: by class id.
        model: name of what classified them.
    """
    side, gap, head, line, lines = 200, 16, 56, 20, 3
    per_row = min(6, max(3, len(predictions)))
    height = side + (lines + 1) * line + gap + 8
    sheet = Sheet(per_row * (side + gap) + gap, head + -(-len(predictions) // per_row) * height + gap)
    width = sheet.image.width - 2 * gap
    images = f"{total:,} image{'s' * (total != 1)}"
    shown = images if len(predictions) == total else f"The first {len(predictions)} of {images}"
    sheet.text((gap, 10), f"{shown}, classified by {model}", width, DARK, 18, bold=True)
    sheet.text((gap, 34), "below each image: its file and its most probable classes", width, LIGHT, 12)
    for number, (path, prediction) in enumerate(predictions):
        left, top = gap + number % per_row * (side + gap), head + number // per_row * height
        sheet.picture((left, top), path, side)
        sheet.text((left, top + side + 4), "/".join(path.parts[-2:]), side, LIGHT, 12)
        best = list(zip(prediction.classes, prediction.probabilities, strict=True))[:lines]
        for rank, (class_id, probability) in enumerate(best):
            y, color = top + side + 4 + (rank + 1) * line, LIGHT if rank else DARK
            sheet.pen.rectangle((left, y, left + side - 1, y + line - 4), FRAME)
            bar = left + round((side - 1) * probability)
            sheet.pen.rectangle((left, y, bar, y + line - 4), "#b9d9ee" if rank else "#86c1e6")
            sheet.text((left + 3, y), class_names[class_id], side - 52, color, 13, bold=rank == 0)
            percent = f"{100 * probability:.0f} %"
            sheet.pen.text((left + side - 3, y), percent, color, _font(13, rank == 0), anchor="ra")
    return sheet.image


def confusion_sheet(pairs: pd.DataFrame, images: pd.DataFrame, splits: Splits) -> Image.Image:
    """The most frequent confusions: at the left images that were mistaken, at the right images of the other class.

    Args:
        pairs: of `evaluate.confusions`.
        images: of `evaluate.test_once`.
        splits: for images of classes of which none was recognized.
    """
    side, gap, middle, label, head = 150, 8, 44, 50, 64
    half, row = EXAMPLES * (side + gap) - gap, label + side + 2 * gap
    left, right = 2 * gap, 3 * gap + half + middle
    shown = pairs.head(PAIRS)
    sheet = Sheet(2 * half + middle + 5 * gap, head + max(1, len(shown)) * row)
    wrong = int((~images["correct"]).sum())
    counts = f"{wrong:,} of {len(images):,} images are wrong, in {len(pairs):,} pairs of classes"
    sheet.text((left, 10), f"Most frequent confusions: {counts}", sheet.image.width - 4 * gap, DARK, 17, bold=True)
    sheet.text((left, 36), "left: images that were mistaken", half, WRONG, 13)
    sheet.text((right, 36), "right: images of the class that they were taken for", half, RIGHT, 13)
    if shown.empty:
        sheet.text((left, head + gap), "No image was taken for another class.", half, DARK, 15)
    for number, pair in enumerate(shown.itertuples()):
        top = head + number * row
        mistaken = images[(images["class_id"] == pair.class_id) & (images["predicted"] == pair.predicted)]
        mistaken = mistaken.sort_values("confidence", ascending=False)["path"].tolist()
        others = images[images["class_id"] == pair.predicted].sort_values(["correct", "confidence"], ascending=False)
        others = others["path"].tolist()[:EXAMPLES]
        others += splits.paths(splits.train[splits.train["class_id"] == pair.predicted])[: EXAMPLES - len(others)]
        name, other = (splits.class_names[number] for number in (pair.class_id, pair.predicted))
        times = f"{pair.times} of {pair.images} image{'s' * (pair.images != 1)}, mean probability {pair.confidence:.0%}"
        sheet.pen.line((left, top, sheet.image.width - 2 * gap, top), "#cccccc")
        sheet.text((left, top + 6), name, half, WRONG, 15, bold=True)
        sheet.text((left, top + 27), times, half, LIGHT, 12)
        sheet.text((right, top + 6), f"taken for {other}", half, RIGHT, 15, bold=True)
        for paths, x in ((mistaken, left), (others, right)):
            for place, path in enumerate(paths[:EXAMPLES]):
                sheet.picture((x + place * (side + gap), top + label), path, side)
        x, y = right - middle // 2, top + label + side // 2
        sheet.pen.polygon([(x - 9, y - 12), (x + 11, y), (x - 9, y + 12)], LIGHT)
    return sheet.image
