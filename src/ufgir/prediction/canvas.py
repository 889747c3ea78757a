"""What contact sheets share: a font with the letters of most alphabets, labels that fit, and pictures in squares."""

from functools import cache
from pathlib import Path

from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ufgir.data.images import load_image

DARK, LIGHT, RIGHT, WRONG = "#1a1a1a", "#666666", "#0072B2", "#C4450C"
BACKGROUND, FRAME = "#ffffff", "#f0f0f0"


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib, in a size in pixels."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", name)), size)


def fitting(text: str, width: float, type_face: ImageFont.FreeTypeFont) -> str:
    """`text`, or its beginning and end with an ellipsis between where it is wider than `width` pixels."""
    text, kept = "".join(letter if letter.isprintable() else "?" for letter in text), len(text)
    shown = text
    while type_face.getlength(shown) > width and kept > 2:
        kept -= 1
        shown = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return shown


def squared(path: Path, side: int) -> Image.Image:
    """An image file, whole and undistorted, on a light square of `side` pixels."""
    square = Image.new("RGB", (side, side), FRAME)
    picture = ImageOps.contain(load_image(path), (side, side), Image.Resampling.LANCZOS)
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


def blank(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty sheet and a pen for it."""
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    return sheet, ImageDraw.Draw(sheet)
