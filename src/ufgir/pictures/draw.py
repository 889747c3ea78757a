"""From image files to figures in a folder."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ufgir.files import written_whole
from ufgir.models import ReducedViT
from ufgir.models.backbones import config_name
from ufgir.photos import Skipped, decoded
from ufgir.pictures.figure import Subject, figure_of
from ufgir.pictures.look import look_at


@dataclass(frozen=True)
class Labels:
    """Names of the classes and, for the images that a run was tested on, which one is true.

    Attributes:
        class_names: in the order of the class ids.
        true: class id by the absolute path of an image.
    """

    class_names: Sequence[str]
    true: Mapping[Path, int] = field(default_factory=dict)

    def verdict(self, path: Path, probabilities: np.ndarray) -> str:
        """What the model says about an image, and what is true if that is known."""
        guess = int(probabilities.argmax())
        text = f"predicted: {self.class_names[guess]} ({probabilities[guess]:.0%})"
        true = self.true.get(path.absolute())
        if true is None:
            return text
        truth = ": right" if guess == true else f", true: {self.class_names[true]} ({probabilities[true]:.0%})"
        return text + truth


@dataclass(frozen=True)
class Drawer:
    """Draws what one model does with images.

    Attributes:
        model: whose tokens are drawn.
        config: its resolved configuration.
        gmacs: what it costs, GMACs of an image.
        labels: of its classes.
    """

    model: ReducedViT
    config: Mapping[str, Any]
    gmacs: float
    labels: Labels

    def draw(self, path: Path, pixels: np.ndarray) -> bytes:
        """The figure of an image, as a PNG file."""
        look = look_at(self.model, pixels)
        title = "/".join(path.absolute().parts[-2:])  # the folder often names the class
        return figure_of(look, Subject(title, self.labels.verdict(path, look.probabilities), self._told()))

    def _told(self) -> str:
        """The model in a line."""
        config = self.config
        rates = config["keep_rate"] if isinstance(config["keep_rate"], list) else [config["keep_rate"]]
        reducer = config["reducer"]["name"]
        parts = [
            config_name(config["backbone"]["name"], config["backbone"]["kwargs"]),
            "no reducer" if reducer == "none" else f"{reducer}, keep rate {' '.join(f'{rate:g}' for rate in rates)}",
            f"plug-ins: {config['plugins']['name']}",
            f"{config['image_size']} px",
            f"{self.gmacs:.3g} GMACs an image",
        ]
        return " · ".join(parts)


def draw_files(drawer: Drawer, paths: Iterable[Path], names: Iterable[str], out: Path) -> list[Skipped]:
    """Draw image files into a folder, which is made for the first of them that can be read.

    Args:
        drawer: of the model.
        paths: the image files.
        names: of the figures.
        out: the folder.

    Returns:
        those that cannot be read.
    """
    unreadable = []
    config = drawer.config
    images = decoded(paths, config["dataset"]["resize"], config["image_size"], ahead=1)
    for (path, pixels), name in zip(images, names, strict=True):
        if isinstance(pixels, str):
            unreadable.append((path, pixels))
            continue
        out.mkdir(exist_ok=True)
        with written_whole(out / name, "wb") as stream:
            stream.write(drawer.draw(path, pixels))
    return unreadable
