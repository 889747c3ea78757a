"""What the weights themselves tell: names and shapes cannot be wrong about their model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from math import isqrt

from ufgir.errors import UserError
from ufgir.published.facts import Fact, Facts

SHAPES = "shapes of the weights"
# An entry that a reducer has in its first stage, and the dimension of it that is the number of tokens kept, if any.
SIGNS = {
    "dyvit": ("score_predictor.{}.in_conv.0.weight", None),
    "dpcknn": ("cluster_layers.{}.score.weight", None),
    "sit": ("cluster_layers.{}.weight.3.weight", 0),
    "patchmerger": ("cluster_layers.{}.queries", 0),
}


@dataclass(frozen=True)
class Outline:
    """The measures of a model.

    Attributes:
        depth: number of blocks.
        width: embedding width C.
        patch: side of a patch, pixels.
        side: patches along an image's side; None where the position embedding does not tell.
        num_clr: CLR tokens.
        head: `linear`, `cla` or `ifa`.
        multiplier: channels of the CLA head's depthwise convolution per input channel; None for other heads.
        groups: class tokens that an aggregation head collects; None for `linear`.
        classes: number of classes.
        reducer: the reducer, where it has weights; None otherwise.
        stages: stages of that reducer.
        budgets: tokens that each of these stages keeps, where the weights tell.
    """

    depth: int
    width: int
    patch: int
    side: int | None
    num_clr: int
    head: str
    multiplier: int | None
    groups: int | None
    classes: int
    reducer: str | None
    stages: int
    budgets: tuple[int, ...]


def outline_of(shapes: Mapping[str, tuple[int, ...]]) -> Outline:
    """Measure a model by the shapes of its entries, in the authors' names.

    Raises:
        UserError: these are not the weights of one of their ViTs.
    """
    blocks = [int(match[1]) for name in shapes if (match := re.match(r"blocks\.(\d+)\.", name))]
    needed = ("cls_token", "patch_embed.proj.weight")
    if not blocks or not all(name in shapes for name in needed):
        raise UserError(
            f"The weights are not those of a ViT in timm's names: expected {', '.join(needed)} and blocks.0.*, "
            f"found {', '.join(list(shapes)[:4])}, ..."
        )
    try:
        return _measured(shapes, 1 + max(blocks))
    except (ValueError, IndexError, KeyError) as error:
        raise UserError(f"The weights have the names of a ViT, but not its shapes ({error}).") from error


def _measured(shapes: Mapping[str, tuple[int, ...]], depth: int) -> Outline:
    width, _, patch, _ = shapes["patch_embed.proj.weight"]
    reducer = next((name for name, (sign, _) in SIGNS.items() if sign.format(0) in shapes), None)
    stages, budgets = 0, ()
    if reducer:
        sign, kept = SIGNS[reducer]
        found = [shapes[sign.format(s)] for s in takewhile(lambda s: sign.format(s) in shapes, count())]
        stages, budgets = len(found), () if kept is None else tuple(shape[kept] for shape in found)
    num_clr = shapes["clr"][1] if "clr" in shapes else 0
    return Outline(
        depth, width, patch, _side(shapes, num_clr), num_clr, *_head(shapes, width), reducer, stages, budgets
    )


def _side(shapes: Mapping[str, tuple[int, ...]], num_clr: int) -> int | None:
    """Patches along a side: the position embedding has a row for each of them, or for the other tokens too."""
    if "pos_embed" not in shapes:
        return None
    rows = shapes["pos_embed"][1]
    registers = shapes["reg_token"][1] if "reg_token" in shapes else 0
    counts = (rows - 1 - registers - num_clr, rows)
    return next((isqrt(patches) for patches in counts if patches > 0 and isqrt(patches) ** 2 == patches), None)


def _head(shapes: Mapping[str, tuple[int, ...]], width: int) -> tuple[str, int | None, int | None, int]:
    """Head, multiplier, groups and classes."""
    if "ifa_head.0.1.weight" in shapes:
        hidden, _, groups = shapes["ifa_head.0.1.weight"]
        return "cla", hidden // width, groups, shapes["ifa_head.0.4.weight"][0]
    if "ifa_head.0.0.weight" in shapes:
        return "ifa", None, shapes["ifa_head.0.0.weight"][1], shapes["ifa_head.0.4.weight"][0]
    if "head.weight" not in shapes:
        raise UserError("The weights have no classifier: expected head.weight, or ifa_head.0.* of an aggregation head.")
    return "linear", None, None, shapes["head.weight"][0]


def shape_facts(outline: Outline) -> Facts:
    """The settings that follow from a model's measures."""
    values = {
        "classes": outline.classes,
        "reducer": outline.reducer,
        "image_size": outline.side and outline.side * outline.patch,
        "plugins.head.name": outline.head,
        "plugins.head.multiplier": outline.multiplier,
        "plugins.cache": True if outline.num_clr else None,  # it may cache without CLR tokens
        "plugins.cache.num_clr": outline.num_clr,
    }
    return {key: Fact(value, SHAPES) for key, value in values.items() if value is not None}
