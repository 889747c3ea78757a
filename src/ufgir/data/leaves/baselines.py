"""How far one gets without learning: nearest neighbours on a thumbnail and on the mean colour."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ufgir.data.tables import Tables

_THUMBNAIL = 24


def baselines(tables: Tables, image_root: Path) -> dict[str, float]:
    """Test accuracy of two nearest-neighbour classifiers that learn from `train_val`, in percent.

    Args:
        tables: split tables with the keys `train_val` and `test`.
        image_root: folder to which their column `dir` is relative.

    Returns:
        `thumbnail_nn_top1`: nearest in Euclidean distance between grey thumbnails of 24x24 pixels;
        `mean_colour_nn_top1`: nearest between mean RGB colours; `chance`: 100 / number of classes.
    """
    known, asked = tables["train_val"], tables["test"]
    thumbnails, colours = zip(*(_features(table, Path(image_root)) for table in (known, asked)), strict=True)
    return {
        "thumbnail_nn_top1": _nearest_neighbour(*thumbnails, known["class_id"], asked["class_id"]),
        "mean_colour_nn_top1": _nearest_neighbour(*colours, known["class_id"], asked["class_id"]),
        "chance": 100 / known["class_id"].nunique(),
    }


def _features(table: pd.DataFrame, image_root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Thumbnails (n, 24·24) and mean colours (n, 3) of a table's images, in [0, 255]."""
    thumbnails, colours = [], []
    for path in table["dir"]:
        with Image.open(image_root / path) as picture:
            picture = picture.convert("RGB")
        small = picture.convert("L").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
        thumbnails.append(np.asarray(small, dtype=np.float64).ravel())
        colours.append(np.asarray(picture, dtype=np.float64).mean(axis=(0, 1)))
    return np.stack(thumbnails), np.stack(colours)


def _nearest_neighbour(known: np.ndarray, asked: np.ndarray, labels: pd.Series, truth: pd.Series) -> float:
    """Share of the rows of `asked` (m, d) whose nearest row of `known` (n, d) has the true label, in percent."""
    nearest = [np.square(known - row).sum(axis=1).argmin() for row in asked]
    return 100 * float(np.mean(labels.to_numpy()[nearest] == truth.to_numpy()))
