"""The checkpoints that the paper's authors published: read, measured, and renamed to ours."""

import argparse
import re
import types
from collections.abc import Mapping
from math import isqrt
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ufgir.errors import UserError
from ufgir.models.vit import ReducedViT
from ufgir.models.weights import shape_differences, unpickle, without_wrappers

AUTHORS_REDUCER = re.compile(r"(score_predictor|cluster_layers)\.(?P<stage>\d+)\.")  # their prefix of a stage's
AUTHORS_HEAD = "ifa_head.0."  # their prefix of both aggregation heads
REDUCER_PARAMETERS = {
    "dyvit": "score_predictor.{}.in_conv.0.weight",
    "dpcknn": "cluster_layers.{}.score.weight",
    "sit": "cluster_layers.{}.weight.3.weight",
    "patchmerger": "cluster_layers.{}.queries",
}  # a parameter of a reducer's stage


class AuthorsCheckpoint(NamedTuple):
    """A checkpoint of the authors."""

    path: Path
    state_dict: dict[str, Tensor]  # weights in the authors' names
    section: str  # where the training's settings are: `args` (first release), `config` (follow-up), or empty
    settings: dict[str, object]  # the values in it by dotted lower-case name
    notes: tuple[str, ...] = ()  # what the user should know, a sentence each


class Measures(NamedTuple):
    """What names and shapes of the weights prove."""

    depth: int  # number of blocks
    width: int  # embedding width C
    patch: int  # side of a patch, pixels
    side: int | None  # patches along an image's side; None where the position embedding does not show it
    num_clr: int  # CLR tokens
    head: str  # `linear`, `cla` or `ifa`
    multiplier: int | None  # of the CLA head's channels; None for other heads
    groups: int | None  # class tokens that an aggregation head collects; None for `linear`
    num_classes: int
    reducer: str | None  # the reducer, where it has parameters
    stages: int  # stages of that reducer


def read_checkpoint(path: Path) -> AuthorsCheckpoint:
    """Read a checkpoint of either release, or weights alone.

    Raises:
        UserError: no such file, not a checkpoint, or one that names anything but tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"checkpoint={path}: no such file. Give a checkpoint of the paper's authors.")
    try:
        content = unpickle(path)
    except ValueError as error:
        raise UserError(f"checkpoint={path}: cannot be read: {error}.") from error
    if not isinstance(content, Mapping):
        raise UserError(f"checkpoint={path}: it holds a {type(content).__name__}, not a checkpoint of the authors.")
    if {"format", "class_names", "state_dict"} <= set(content):
        raise UserError(f"checkpoint={path}: it is ours already. Use it with python -m ufgir.evaluate checkpoint=FILE.")
    entry = next((name for name in ("model", "state_dict") if isinstance(content.get(name), Mapping)), None)
    weights = content if entry is None else content[entry]
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(
            f"checkpoint={path}: expected weights under model, beside args or config; it has "
            f"{', '.join(map(str, content)) or 'nothing'}."
        )
    state_dict, notes = without_wrappers({str(name): value for name, value in weights.items()}), []
    if average := next((name for name in ("model_ema", "ema") if content.get(name) is not None), None):
        notes.append(f"the moving average of the weights, {average}, is ignored; model is converted.")
    elif content.get("ema_best"):
        notes.append("ema_best: the authors' best accuracy is that of a moving average, which the file does not hold.")
    section = next((name for name in ("args", "config") if entry and content.get(name) is not None), "")
    return AuthorsCheckpoint(path, state_dict, section, _flat(content[section]) if section else {}, tuple(notes))


def _flat(node: object, prefix: str = "") -> dict[str, object]:
    """Text, numbers and lists by dotted lower-case name, out of nested mappings and namespaces; others as None."""
    values: dict[str, object] = {}
    for name, value in (node if isinstance(node, Mapping) else vars(node)).items():
        is_node = isinstance(value, Mapping | argparse.Namespace | types.SimpleNamespace)
        key = f"{prefix}{name}".lower()
        values |= _flat(value, f"{key}.") if is_node else {key: _plain(value)}
    return values


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, PurePath | torch.device):
        return str(value)
    return value if isinstance(value, str | int | float) else None


def measure_weights(shapes: Mapping[str, tuple[int, ...]]) -> Measures:
    """Measure a model by the shapes of its weights, in the authors' names.

    Raises:
        UserError: these are not the weights of one of their ViTs.
    """
    depth = 1 + max((int(m[1]) for name in shapes if (m := re.match(r"blocks\.(\d+)\.", name))), default=-1)
    if not depth or not {"cls_token", "patch_embed.proj.weight"} <= set(shapes):
        raise UserError(
            "the weights are not those of a ViT in timm's names: expected cls_token, patch_embed.proj.weight and "
            f"blocks.0.*, found {', '.join(list(shapes)[:4])}, ..."
        )
    try:
        width, _, patch, _ = shapes["patch_embed.proj.weight"]
        num_clr = shapes["clr"][1] if "clr" in shapes else 0
        side = None
        if "pos_embed" in shapes:  # it has a row for each patch, or for the other tokens, too
            rows, registers = shapes["pos_embed"][1], shapes.get("reg_token", (1, 0))[1]
            patches = [n for n in (rows - 1 - registers - num_clr, rows) if n > 0 and isqrt(n) ** 2 == n]
            side = isqrt(patches[0]) if patches else None
        cla, ifa = (shapes.get(f"{AUTHORS_HEAD}{part}.weight") for part in (1, 0))
        head = "cla" if cla else "ifa" if ifa else "linear"
        classifier = shapes.get("head.weight" if head == "linear" else f"{AUTHORS_HEAD}4.weight")
        if not classifier:
            raise UserError("the weights have no classifier: expected head.weight, or ifa_head.0.* of CLA or IFA.")
        groups = cla[2] if cla else ifa[1] if ifa else None
        reducer, stages = None, 0
        for name, parameter in REDUCER_PARAMETERS.items():
            if found := sum(parameter.format(stage) in shapes for stage in range(depth)):
                reducer, stages = name, found
        multiplier = cla[0] // width if cla else None
        return Measures(depth, width, patch, side, num_clr, head, multiplier, groups, classifier[0], reducer, stages)
    except (ValueError, IndexError) as error:
        raise UserError(f"the weights have the names of a ViT, but not its shapes ({error}).") from error


def convert_authors_state_dict(state_dict: Mapping[str, Tensor], model: ReducedViT) -> dict[str, Tensor]:
    """Rename the authors' entries so that `model.load_state_dict(..., strict=True)` takes them.

    Theirs are timm's names, with `clr`, the CLR's rows at the end of `pos_embed`, `score_predictor.s.*` and
    `cluster_layers.s.*` for the reducer of stage s, and `ifa_head.0.*` for the aggregation head, beside which they
    keep an unused `head.*` of 1000 classes.

    Raises:
        UserError: entries are missing, left over or of another shape; all of them are named.
    """
    converted = {}
    for name, value in state_dict.items():
        if model.collected_layers:
            if name.startswith("head."):
                continue
            name = name.replace(AUTHORS_HEAD, "head.", 1)
        if match := AUTHORS_REDUCER.match(name):  # theirs counts the stages, ours names the layer
            stage = int(match["stage"])
            layer = str(model.reduction_layers[stage]) if stage < len(model.reduction_layers) else ""
            name = f"reducers.{layer}.{name[match.end() :]}" if layer in model.reducers else name
        converted[name] = value
    if model.cache is not None and "clr" in converted:
        converted["cache.clr"] = converted.pop("clr")
        if model.cache.pos_embed is not None and "pos_embed" in converted:
            rows = model.pos_embed.shape[1]
            converted["cache.pos_embed"] = converted["pos_embed"][:, rows:]
            converted["pos_embed"] = converted["pos_embed"][:, :rows]
    if problems := shape_differences(converted, model.state_dict()):
        raise UserError(f"The checkpoint does not fit the model: {'; '.join(problems)}.")
    return converted
