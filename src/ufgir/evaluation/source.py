"""The data that trained weights are tested on."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ufgir.data import Source, image_faults
from ufgir.errors import UserError
from ufgir.runs.folder import RunFolder
from ufgir.runs.tested import tested_source


def find_source(config: Mapping[str, Any], class_names: list[str], folder: RunFolder | None) -> Source:
    """The data set that a configuration names; with a run folder, the very tables of that run.

    Raises:
        UserError: the data cannot be had, or has other classes than the weights.
    """
    source, faults = tested_source(config, folder)
    if source is None:
        raise UserError(*faults)
    if folder is not None:
        source = replace(source, class_names=class_names)
    if source.num_classes != len(class_names):
        raise UserError(
            f"{source.name} has {source.num_classes} classes, the weights were trained on {len(class_names)}. Name the "
            "data that they were trained on, or other images of the same classes."
        )
    tell_other_names(source, class_names)
    source.prepare(config["trainer"]["progress"])
    if faults := image_faults(source, config["trainer"]["progress"]):
        raise UserError(*faults)
    return source


def tell_other_names(source: Source, class_names: list[str]) -> None:
    """Say so where the classes of the data are not named as those of the weights; converted weights have no names."""
    pairs = zip(source.class_names, class_names, strict=True)
    for number, (here, there) in enumerate(pairs):
        if here != there != str(number):
            print(f"class {number} is named {here} in {source.name} and {there} in the weights: compared by number")
            return
