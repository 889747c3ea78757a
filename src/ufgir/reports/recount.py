"""GMACs of a cell, counted in a model that is really built; those of the paper's grid are shipped, counted before."""

from functools import cache

import torch
from torch import nn

from ufgir.config import compose_run, resolve
from ufgir.cost import count_macs
from ufgir.errors import UserError
from ufgir.grids.grid import TOME_QUARTER
from ufgir.models.backbones import named_backbones, on_paper, timm_name_and_kwargs
from ufgir.runs.build import build_model

CLASSES = 100  # of the models that are counted


def recount(backbone: str, reducer: str, keep_rate: str, image_size: int, plugins: str, num_classes: int) -> float:
    """GMACs of one image, with random weights: the count depends on them for ATS alone.

    Args:
        backbone: one of our config names, or a timm name.
        keep_rate: as text, see `rate_text`. ToMe's 0.25 is taken as the paper has it, 0.5 at six layers.

    Raises:
        UserError: there is no such model.
    """
    words = [f"reducer={reducer}", f"image_size={image_size}", f"plugins={plugins}"]
    if (reducer, keep_rate) == ("tome", "0.25"):
        words += ["keep_rate=0.5", f"reduction_layers={TOME_QUARTER}"]
    else:
        rates = keep_rate.split()
        words += [f"keep_rate={rates[0] if len(rates) == 1 else '[' + ','.join(rates) + ']'}"]
    key = (*words, _architecture(backbone))
    if key not in _counted:
        _counted[key] = _count([*words, f"backbone{'' if backbone in named_backbones() else '.name'}={backbone}"])
    macs, per_class = _counted[key]
    return (macs + num_classes * per_class) / 1e9


_counted: dict[tuple[str, ...], tuple[int, int]] = {}  # MACs without the classes, and of each class


@cache
def _architecture(backbone: str) -> str:
    """Equal for backbones that differ in nothing but their weights; each architecture is counted once."""
    name, kwargs = timm_name_and_kwargs(backbone)
    vit = on_paper(name, **kwargs)
    return f"{vit} {[(key, tuple(value.shape)) for key, value in vit.state_dict().items()]}"


def _count(words: list[str]) -> tuple[int, int]:
    """MACs of a model but for what its classes cost, and MACs of each class: a row of the last layer's weights."""
    config, faults = compose_run([*words, "backbone.pretrained=false"])
    if faults:
        raise UserError(*faults)
    settings = resolve(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # ATS decides by its weights how many tokens it keeps
        model = build_model(settings, CLASSES, with_weights=False)
        macs = count_macs(model, settings["image_size"])
    classifier = [part for part in model.head.modules() if isinstance(part, nn.Linear | nn.Conv1d)][-1]
    per_class = classifier.weight[0].numel()
    return macs - CLASSES * per_class, per_class
