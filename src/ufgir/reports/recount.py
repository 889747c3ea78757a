"""GMACs of a cell, counted in a model that is really built; those of the paper's grid are shipped, counted before."""

from functools import cache

import torch

from ufgir.config import compose_run, resolve
from ufgir.cost import count_macs
from ufgir.errors import UserError
from ufgir.models.backbones import named_backbones, on_paper, timm_name_and_kwargs
from ufgir.reports.layout import TOME_025_LAYERS
from ufgir.runs.build import build_model


def recount(backbone: str, reducer: str, keep_rate: str, image_size: int, plugins: str, num_classes: int) -> float:
    """GMACs of one image, with random weights: the count depends on them for ATS alone.

    Args:
        backbone: one of our config names, or a timm name.
        keep_rate: as text, see `rate_text`. ToMe's 0.25 is taken as the paper has it, 0.5 at six layers.

    Raises:
        UserError: there is no such model.
    """
    words = [f"reducer={reducer}", f"image_size={image_size}", f"plugins={plugins}", "backbone.pretrained=false"]
    words += [f"backbone={backbone}" if backbone in named_backbones() else f"backbone.name={backbone}"]
    if (reducer, keep_rate) == ("tome", "0.25"):
        words += ["keep_rate=0.5", f"reduction_layers={TOME_025_LAYERS}".replace(" ", "")]
    else:
        rates = keep_rate.split()
        words += [f"keep_rate={rates[0] if len(rates) == 1 else '[' + ','.join(rates) + ']'}"]
    return _count(tuple(words), num_classes, _architecture(backbone))


@cache
def _architecture(backbone: str) -> str:
    """Equal for backbones that differ in nothing but their weights; each architecture is counted once."""
    name, kwargs = timm_name_and_kwargs(backbone)
    vit = on_paper(name, **kwargs)
    return f"{vit} {[(key, tuple(value.shape)) for key, value in vit.state_dict().items()]}"


_counted: dict[tuple, float] = {}


def _count(words: tuple[str, ...], num_classes: int, architecture: str) -> float:
    key = (tuple(word for word in words if not word.startswith(("backbone=", "backbone.name="))), num_classes)
    key += (architecture,)
    if key not in _counted:
        config, faults = compose_run(list(words))
        if faults:
            raise UserError(*faults)
        settings = resolve(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # ATS decides by its weights how many tokens it keeps
            model = build_model(settings, num_classes, with_weights=False)
            _counted[key] = round(count_macs(model, settings["image_size"]) / 1e9, 4)
    return _counted[key]
