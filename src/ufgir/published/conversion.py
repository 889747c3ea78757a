"""From facts and weights of the authors' to a weights file of ours, with an account of every entry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ufgir.config import compose_run, resolve
from ufgir.config.messages import typed
from ufgir.config.rules import choices
from ufgir.errors import UserError
from ufgir.models import ReducedViT, convert_authors_state_dict
from ufgir.models.backbones import named_backbones
from ufgir.published.facts import Facts, plugin_choices
from ufgir.runs.build import build_model

# Our configs of the data sets -> what the authors, and the release, call them.
DATASETS = {
    "cotton80": ("cotton80", "cotton"),
    "soylocal": ("soylocal", "soybean200"),
    "soygene": ("soygene", "soybeangene"),
    "soyageing": ("soyageing", "soybeanageing"),
    "soyglobal": ("soyglobal", "soybean2000"),
}


@dataclass(frozen=True)
class Conversion:
    """A checkpoint in our form.

    Attributes:
        config: resolved, of the run as we would have started it.
        model: with the weights, on the CPU.
        class_names: `0`, `1`, ...: a checkpoint has no names of its classes.
        origins: our entries of each of the authors' entries; none where it is of no use.
    """

    config: dict[str, Any]
    model: ReducedViT
    class_names: list[str]
    origins: dict[str, list[str]]


def convert(state_dict: Mapping[str, Tensor], facts: Facts) -> Conversion:
    """Build the model that the facts describe and give it the weights.

    Raises:
        UserError: no such model can be configured, or the weights are not those of it.
    """
    # Of the weights, not of this machine, so that the same file comes out everywhere. Half precision becomes single.
    double = any(value.dtype == torch.float64 for value in state_dict.values())
    config = _configured(facts, "64-true" if double else "32-true")
    classes = int(facts["classes"].value)
    model = build_model(config, classes, with_weights=False)
    try:
        converted = convert_authors_state_dict(state_dict, model)
    except UserError as error:
        raise UserError(
            f"{error} If it was taken for another model than it is, say so: backbone=, reducer= or plugins=."
        ) from error
    dtype = torch.float64 if double else torch.float32
    owned = {
        name: value.to(dtype if value.is_floating_point() else value.dtype, copy=True)
        for name, value in converted.items()
    }
    model.load_state_dict(owned, strict=True, assign=True)
    return Conversion(config, model, [str(number) for number in range(classes)], _origins(state_dict, model))


def _configured(facts: Facts, precision: str) -> dict[str, Any]:
    config, faults = compose_run([*_overrides(facts), f"trainer.precision={precision}"])
    if faults:
        raise UserError(*faults)
    return resolve(config)


def _overrides(facts: Facts) -> list[str]:
    """The facts as they would be typed for a training."""
    values = {key: fact.value for key, fact in facts.items()}
    del values["classes"]
    head, cached = values.pop("plugins.head.name"), values.pop("plugins.cache")
    # The IFA head with the cache has no choice of its own.
    plugins = next((choice for choice, has in plugin_choices().items() if has == (head, cached)), "clc")
    return [
        *_data_words(str(values.pop("dataset", ""))),
        *_backbone_words(str(values.pop("backbone"))),
        "backbone.pretrained=false",  # nothing is to be fetched for weights that are there
        "backbone.checkpoint=null",
        f"plugins={plugins}",
        f"plugins.head.name={head}",
        *(typed(key, value) for key, value in values.items()),
    ]


def _data_words(name: str) -> list[str]:
    ours = next((key for key, names in DATASETS.items() if name.lower() in names), None)
    return [f"dataset={ours}"] if ours else ["dataset=csv", *([typed("dataset.name", name)] if name else [])]


def _backbone_words(name: str) -> list[str]:
    """The choice of that name or, failing that, any choice with the name of a timm model in its place."""
    if name in choices("backbone"):
        return [f"backbone={name}"]
    ours = [choice for choice, (timm_name, kwargs) in named_backbones().items() if (timm_name, kwargs) == (name, {})]
    return [f"backbone={ours[0]}" if ours else f"backbone.name={name}"]


def _origins(state_dict: Mapping[str, Tensor], model: ReducedViT) -> dict[str, list[str]]:
    """Which entries of ours came from each of theirs, found by converting numbered stand-ins of the same shapes."""
    numbered = {
        name: torch.tensor(number).expand(value.shape) for number, (name, value) in enumerate(state_dict.items())
    }
    theirs = list(state_dict)
    origins: dict[str, list[str]] = {name: [] for name in theirs}
    for name, value in convert_authors_state_dict(numbered, model).items():
        origins[theirs[int(value[(0,) * value.ndim])]].append(name)
    return origins
