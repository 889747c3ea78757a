"""A contact sheet: one row for each cultivar, one column for each photograph."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ufgir.data.tables import Tables

_GAP = 3


def contact_sheet(tables: Tables, image_root: Path, class_names: list[str], path: Path, classes: int = 8,
                  per_class: int = 8, side: int = 112) -> None:
    """Draw the first images of the first classes of `train_val`, one row per class, its name at the left.

    Args:
        tables, image_root, class_names: the data set; `dir` in the tables is relative to `image_root`.
        path: picture to write; its ending decides the format.
        classes: rows.
        per_class: columns; a class with fewer images leaves the rest of its row empty.
        side: of one photograph, pixels.
    """
    font = ImageFont.load_default(size=side / 8)
    margin = round(max(font.getlength(class_name) for class_name in class_names[:classes])) + 4 * _GAP
    step = side + _GAP
    sheet = Image.new("RGB", (margin + per_class * step, classes * step - _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    rows = tables["train_val"].groupby("class_id")["dir"].apply(list)
    for row, class_name in enumerate(class_names[:classes]):
        pen.text((_GAP, row * step + side / 2), class_name, fill="black", font=font, anchor="lm")
        for column, image in enumerate(rows[row][:per_class]):
            with Image.open(Path(image_root) / image) as picture:
                small = picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(small, (margin + column * step, row * step))
    # A palette makes a PNG three times smaller; it is dithered, which the eye does not see at this scale.
    if Path(path).suffix == ".png":
        sheet = sheet.quantize(256)
    sheet.save(path, quality=90, optimize=True)
