"""The checkpoints that the paper's authors published: read, recognized, and renamed to ours."""

import argparse
import re
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import isqrt
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor

from ufgir.errors import UserError, summarize
from ufgir.models.cache import CACHE_DEFAULTS
from ufgir.models.vit import ReducedViT
from ufgir.models.weights import shape_differences, unpickle, without_wrappers
from ufgir.reducers import REDUCERS
from ufgir.utils import flatten

AUTHORS_REDUCER = re.compile(r"(score_predictor|cluster_layers)\.(?P<stage>\d+)\.")  # their prefix of a stage's
AUTHORS_HEAD = "ifa_head.0."  # their prefix of both aggregation heads
REDUCER_PARAMETERS = {  # reducer -> one of its parameters
    "dyvit": "score_predictor.0.in_conv.0.weight",
    "dpcknn": "cluster_layers.0.score.weight",
    "sit": "cluster_layers.0.weight.3.weight",
    "patchmerger": "cluster_layers.0.queries",
}
AUTHORS_REDUCERS = (*REDUCERS, "kmedoids", "sinkhorn", "heuristic")  # prefixes of the authors' model names
TIMM_NAMES = {  # the authors' names that timm does not know -> names that it knows
    "vit_base_patch16_224.in1k_mocov3": "vit_b_mocov3",  # timm has no weights of MoCo v3, only the architecture
    "vit_small_patch16_224.in1k_mocov3": "vit_small_patch16_224",
    "vit_t16": "vit_tiny_patch16_224",
    "vit_s16": "vit_small_patch16_224",
    "vit_b16": "vit_base_patch16_224",
    "vit_l16": "vit_large_patch16_224",
    "vit_base_patch16_224_in21k": "vit_base_patch16_224.augreg_in21k",
    "vit_base_patch16_224_miil_in21k": "vit_base_patch16_224_miil.in21k",
    "vit_base_patch16_224_dino": "vit_base_patch16_224.dino",
    "deit3_base_patch16_224_in21ft1k": "deit3_base_patch16_224.fb_in22k_ft_in1k",
}
RECORDED = {  # our setting -> its names in the authors' programs
    "keep_rate": ("keep_rate", "keep_rates", "keep_ratio", "token_ratio"),
    "reduction_layers": ("reduction_loc", "reduction_layers", "reduction_locs", "pruning_loc", "cluster_loc"),
    "image_size": ("input_size", "image_size", "img_size"),
    "plugins.cache": ("clc",),
    "plugins.cache.gap": ("clc_include_gap",),
    "plugins.cache.recover_at_last": ("clc_recover_at_last",),
    "plugins.cache.pool_cls": ("clc_pool_cls",),
    "plugins.cache.pool_clr": ("clc_pool_clr",),
    "dataset": ("dataset_name", "dataset", "data_set"),
    "dataset.resize": ("test_resize_size", "resize_size"),
    "seed": ("seed",),
    "optim.lr": ("lr",),
    "batch_size": ("batch_size",),
}
PAPER_LAYERS = [3, 6, 9]
LISTS_OF_RATES = ("topk", "evit")  # a list of the other reducers holds counts, or shares of all tokens
DPCKNN_OPTIONS = {"k_neighbors": 5, "equal_weight": False}  # options of theirs and the only values that we have
UNLIKE_OURS = {  # recorded settings that change what the model was shown
    "custom_mean_std": "images were normalized with the data set's own mean and deviation, here with ImageNet's",
    "transform_timm": "images were prepared by timm's transforms, here as in the paper",
}
NEEDED = {
    "backbone": "backbone=NAME, a timm name such as deit_base_patch16_224",
    "reducer": f"reducer={', '.join(('none', *REDUCERS))}",
    "keep_rate": "keep_rate=RATE, the share of tokens kept at each reduction layer",
    "image_size": "image_size=PIXELS",
    "plugins.cache": "plugins=base, cla, clc, clca or ifa",
}


NODES = (Mapping, argparse.Namespace, types.SimpleNamespace)  # what holds settings by name


class Setting(NamedTuple):
    """A value in the form of our configuration, and where it was found."""

    value: Any
    source: str


class AuthorsCheckpoint(NamedTuple):
    """A checkpoint of the authors."""

    state_dict: dict[str, Tensor]  # weights in the authors' names
    section: str  # where the training's settings are: `args` (first release), `config` (follow-up), or empty
    recorded: dict[str, object]  # the values in it by dotted lower-case name
    notes: list[str]  # what the user should know, a sentence each


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
    notes = []
    if average := next((name for name in ("model_ema", "ema") if content.get(name) is not None), None):
        notes.append(f"the moving average of the weights, {average}, is ignored; model is converted.")
    elif content.get("ema_best"):
        notes.append("ema_best: the authors' best accuracy is that of a moving average, which the file does not hold.")
    section = next((name for name in ("args", "config") if entry and isinstance(content.get(name), NODES)), "")
    recorded = flatten(_plain(content[section])) if section else {}
    notes += [f"{name}: {text}." for name, text in UNLIKE_OURS.items() if recorded.get(name)]
    state_dict = without_wrappers({str(name): value for name, value in weights.items()})
    return AuthorsCheckpoint(state_dict, section, recorded, notes)


def _plain(value: object) -> Any:
    """Text, numbers, lists, and mappings with lower-case names, out of whatever holds such values; others as None."""
    if isinstance(value, NODES):
        items = value.items() if isinstance(value, Mapping) else vars(value).items()
        return {str(name).lower(): _plain(item) for name, item in items}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, PurePath | torch.device):
        return str(value)
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | int | float) else None


def find_settings(checkpoint: AuthorsCheckpoint, given: Mapping[str, Setting]) -> dict[str, Setting]:
    """The settings of a checkpoint's model and training, by the keys of our configuration.

    What the user gives counts first, then what the shapes of the weights prove, then what the file records; cache
    options and reduction layers that are found nowhere are the paper's.

    Raises:
        UserError: settings are missing, or there is nothing like them here; all of them.
    """
    paper = {"reduction_layers": PAPER_LAYERS, **{f"plugins.cache.{name}": on for name, on in CACHE_DEFAULTS.items()}}
    found = {key: Setting(value, "the paper's") for key, value in paper.items()}
    recorded = dict(_recorded(checkpoint))
    if checkpoint.section:
        found |= {"plugins.cache": Setting(False, "no cache is recorded"), **recorded}
    for key, value in measure({name: tuple(value.shape) for name, value in checkpoint.state_dict.items()}).items():
        other = recorded.get(key, Setting(value, ""))
        if key == "plugins.cache" and not other.value:
            continue  # CLR tokens without a cache: no model of ours
        differs = f", not {other.value} ({other.source})" if other.value != value else ""
        found[key] = Setting(value, f"shapes of the weights{differs}")
    found |= given
    reducer, rates = (found.get(key, Setting(None, "")).value for key in ("reducer", "keep_rate"))
    if reducer == "none":
        unreduced = {"keep_rate": Setting(1.0, "reducer=none"), "reduction_layers": Setting(PAPER_LAYERS, "unreduced")}
        found |= unreduced | given
    elif isinstance(rates, list) and len(set(map(str, rates))) > 1 and reducer not in LISTS_OF_RATES:
        found = {key: setting for key, setting in found.items() if key != "keep_rate" or key in given}
    size, resize = (found.get(key, Setting(0, "")) for key in ("image_size", "dataset.resize"))
    if all(isinstance(side.value, int) for side in (size, resize)) and 0 < resize.value < size.value:
        found["dataset.resize"] = Setting(None, f"{resize.source}={resize.value} is less than the image size")
    errors = [f"{key}: not recorded in the checkpoint. Give {NEEDED[key]}." for key in NEEDED if key not in found]
    for option, ours in DPCKNN_OPTIONS.items() if reducer == "dpcknn" else ():
        if (theirs := checkpoint.recorded.get(option, ours)) not in (ours, None):
            errors.append(f"{option}={theirs} is recorded: DPC-KNN has only {option}={ours} here.")
    if errors:
        raise UserError(*errors)
    if not found["plugins.cache"].value:
        found = {key: setting for key, setting in found.items() if not key.startswith("plugins.cache.")}
    return found


def measure(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The settings that names and shapes of the weights prove.

    Raises:
        UserError: these are not the weights of one of the authors' ViTs.
    """
    try:
        patch, num_clr = shapes["patch_embed.proj.weight"][2], shapes.get("clr", (1, 0))[1]
        sides = []
        if "pos_embed" in shapes:  # it has a row for each patch, or for the other tokens, too
            rows, registers = shapes["pos_embed"][1], shapes.get("reg_token", (1, 0))[1]
            sides = [isqrt(n) for n in (rows - 1 - registers - num_clr, rows) if n > 0 and isqrt(n) ** 2 == n]
        cla, ifa = (shapes.get(f"{AUTHORS_HEAD}{part}.weight") for part in (1, 0))
        proven = {
            "num_classes": shapes[f"{AUTHORS_HEAD}4.weight" if cla or ifa else "head.weight"][0],
            "image_size": sides[0] * patch if sides else None,
            "reducer": next((name for name, key in REDUCER_PARAMETERS.items() if key in shapes), None),
            "plugins.head.name": "cla" if cla else "ifa" if ifa else "linear",
            "plugins.head.multiplier": cla[0] // shapes["cls_token"][2] if cla else None,
            "plugins.cache": True if num_clr else None,  # there are caches without CLR tokens
            "plugins.cache.num_clr": num_clr,
        }
    except (KeyError, IndexError) as error:
        raise UserError(
            f"the weights are not those of a ViT with a classifier in the authors' names ({summarize(error)})."
        ) from error
    return {key: value for key, value in proven.items() if value is not None}


def _recorded(checkpoint: AuthorsCheckpoint) -> Iterator[tuple[str, Setting]]:
    """The settings in `args` or `config` by our keys."""

    def find(*names: str) -> tuple[Any, str]:
        """The first value that is recorded under one of these names, in whatever section, and its source."""
        for name in names:
            for key, value in checkpoint.recorded.items():
                if key == name or key.endswith(f".{name}"):
                    with suppress(yaml.YAMLError):
                        value = yaml.safe_load(value) if isinstance(value, str) else value
                    if value not in (None, "", []):
                        return value, f"{checkpoint.section}.{key}"
        return None, ""

    for key, names in RECORDED.items():
        value, source = find(*names)
        if source:
            yield key, Setting(value, source)
    name, source = find("model", "model_name", "arch", "backbone", "model.name")
    if source:
        reducer = next((reducer for reducer in AUTHORS_REDUCERS if str(name).startswith(f"{reducer}_")), "none")
        backbone = str(name).removeprefix(f"{reducer}_")
        yield "backbone", Setting(TIMM_NAMES.get(backbone, backbone), source)
        yield "reducer", Setting(reducer, source)
    both, source = find("train_trainval")
    if source:
        yield "protocol", Setting("test" if both else "val", source)
    (epochs, source), (cooldown, _) = find("epochs"), find("cooldown_epochs")
    if isinstance(epochs, int) and isinstance(cooldown, int | None):
        yield "trainer.max_epochs", Setting(epochs + (cooldown or 0), f"{source} and cooldown_epochs")


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
