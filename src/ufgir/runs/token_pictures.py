"""The pictures of `callbacks.tokens=true`: what a model that was just trained does with a few test images."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ufgir.data import Source
from ufgir.errors import UfgirWarning
from ufgir.models import ReducedViT
from ufgir.photos import spread
from ufgir.pictures import Drawer, Labels, draw_files, figure_names

IMAGES = 4


def draw_tokens(folder: Path, config: Mapping[str, Any], source: Source, model: ReducedViT, gmacs: float) -> list[Path]:
    """Draw a few images of the test table, spread over it.

    Args:
        folder: for the figures; it need not exist.
        config: the resolved configuration.
        source: the data set.
        model: as trained.
        gmacs: its cost.

    Returns:
        The figures; none, after a warning, where drawing failed: a finished training is not to be lost for a picture.
    """
    names: list[str] = []
    try:
        paths = spread(source.paths(source.test), IMAGES)
        names = figure_names(paths)
        drawer = Drawer(model, config, gmacs, Labels(source.class_names, source.test_classes()))
        draw_files(drawer, paths, names, folder)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        warnings.warn(f"the pictures of callbacks.tokens could not be drawn ({why})", UfgirWarning, stacklevel=2)
    return [folder / name for name in names if (folder / name).is_file()]
