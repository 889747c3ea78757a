"""The checkpoints that the paper's authors published, read without executing anything from them."""

import argparse
import re
import types
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path, PurePath, PurePosixPath
from zipfile import is_zipfile

import numpy as np
import torch
from torch import Tensor

from ufgir.errors import UserError, summarize

# Besides tensors and plain Python, a file may name these; they only hold values. Where a class of the file would have
# to be imported, a plain one takes its place.
READABLE = [
    argparse.Namespace,
    types.SimpleNamespace,
    *((OrderedDict, name) for name in ("yacs.config.CfgNode", "easydict.EasyDict")),
    *((PurePosixPath, f"pathlib.{name}") for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")),
    *((PurePosixPath, f"pathlib._local.{name}") for name in ("PosixPath", "PurePosixPath")),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "bool")),
]
WRAPPERS = ("module.", "_orig_mod.", "model.")  # prefixes of DistributedDataParallel, torch.compile and a wrapper
REDUCER_PARAMETERS = {
    "dyvit": "score_predictor.{}.in_conv.0.weight",
    "dpcknn": "cluster_layers.{}.score.weight",
    "sit": "cluster_layers.{}.weight.3.weight",
    "patchmerger": "cluster_layers.{}.queries",
}  # a parameter of a reducer's stage


@dataclass(frozen=True)
class AuthorsCheckpoint:
    """A checkpoint of the authors.

    Attributes:
        path: the file.
        state_dict: weights in the authors' names.
        section: the entry with the settings of the training: `args` (first release), `config` (follow-up), or empty.
        settings: the values in it by dotted lower-case name.
        notes: what the user should know, a sentence each.
    """

    path: Path
    state_dict: dict[str, Tensor]
    section: str
    settings: dict[str, object]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measures:
    """What names and shapes of the weights prove.

    Attributes:
        depth, width, patch: number of blocks, embedding width C, side of a patch in pixels.
        side: patches along an image's side; None where the position embedding does not show it.
        num_clr: CLR tokens.
        head: `linear`, `cla` or `ifa`.
        multiplier: of the CLA head's channels; None for other heads.
        groups: class tokens that an aggregation head collects; None for `linear`.
        num_classes: number of classes.
        reducer: the reducer, where it has parameters; None otherwise.
        stages: stages of that reducer.
    """

    depth: int
    width: int
    patch: int
    side: int | None
    num_clr: int
    head: str
    multiplier: int | None
    groups: int | None
    num_classes: int
    reducer: str | None
    stages: int


def read_checkpoint(path: Path) -> AuthorsCheckpoint:
    """Read a checkpoint of either release, or weights alone.

    Raises:
        UserError: no such file, not a checkpoint, or one that names anything but tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"checkpoint={path}: no such file. Give a checkpoint of the paper's authors.")
    content = _load(path)
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
    state_dict, notes = {str(name): value for name, value in weights.items()}, []
    while prefix := next((prefix for prefix in WRAPPERS if all(name.startswith(prefix) for name in state_dict)), None):
        state_dict = {name.removeprefix(prefix): value for name, value in state_dict.items()}
    if average := next((name for name in ("model_ema", "ema") if content.get(name) is not None), None):
        notes.append(f"the moving average of the weights, {average}, is ignored; model is converted.")
    elif content.get("ema_best"):
        notes.append("ema_best: the authors' best accuracy is that of a moving average, which the file does not hold.")
    section = next((name for name in ("args", "config") if entry and content.get(name) is not None), "")
    return AuthorsCheckpoint(path, state_dict, section, _flat(content[section]) if section else {}, tuple(notes))


def _load(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(READABLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # which then fails, or does not
            # Memory-mapped: the optimizer's states, two thirds of a file, are never read.
            return torch.load(path, map_location="cpu", mmap=is_zipfile(path), weights_only=True)
    except Exception as error:  # torch raises many types for a file that is no checkpoint, or that holds code
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"checkpoint={path}: refused, as it names {named[1]}, which an ordinary load would run. Only tensors, "
                "plain values and argparse.Namespace are read. Nothing in it was executed."
            ) from error
        with path.open("rb") as stream:
            if stream.read(40).startswith(b"version https://git-lfs"):
                raise UserError(f"checkpoint={path}: this is a Git LFS pointer. Run `git lfs pull`.") from error
        raise UserError(
            f"checkpoint={path}: cannot be read ({summarize(error)}). It is no checkpoint, or incomplete."
        ) from error


def _flat(node: object, prefix: str = "") -> dict[str, object]:
    """Text, numbers and lists by dotted lower-case name, out of nested mappings and namespaces; others as None."""
    values: dict[str, object] = {}
    for name, value in (node if isinstance(node, Mapping) else vars(node)).items():
        key = f"{prefix}{name}".lower()
        if isinstance(value, Mapping | argparse.Namespace | types.SimpleNamespace):
            values.update(_flat(value, f"{key}."))
        else:
            values[key] = _plain(value)
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
    blocks = [int(match[1]) for name in shapes if (match := re.match(r"blocks\.(\d+)\.", name))]
    if not blocks or not {"cls_token", "patch_embed.proj.weight"} <= set(shapes):
        raise UserError(
            "the weights are not those of a ViT in timm's names: expected cls_token, patch_embed.proj.weight and "
            f"blocks.0.*, found {', '.join(list(shapes)[:4])}, ..."
        )
    try:
        width, _, patch, _ = shapes["patch_embed.proj.weight"]
        num_clr = shapes["clr"][1] if "clr" in shapes else 0
        side, multiplier, groups = None, None, None
        if "pos_embed" in shapes:  # it has a row for each patch, or for the other tokens, too
            rows, registers = shapes["pos_embed"][1], shapes.get("reg_token", (1, 0))[1]
            patches = [n for n in (rows - 1 - registers - num_clr, rows) if n > 0 and isqrt(n) ** 2 == n]
            side = isqrt(patches[0]) if patches else None
        if "ifa_head.0.1.weight" in shapes:
            head, classifier = "cla", "ifa_head.0.4.weight"
            hidden, _, groups = shapes["ifa_head.0.1.weight"]
            multiplier = hidden // width
        elif "ifa_head.0.0.weight" in shapes:
            head, classifier = "ifa", "ifa_head.0.4.weight"
            groups = shapes["ifa_head.0.0.weight"][1]
        else:
            head, classifier = "linear", "head.weight"
        if classifier not in shapes:
            raise UserError("the weights have no classifier: expected head.weight, or ifa_head.0.* of CLA or IFA.")
        stages = {
            reducer: sum(parameter.format(stage) in shapes for stage in range(1 + max(blocks)))
            for reducer, parameter in REDUCER_PARAMETERS.items()
        }
        reducer = next((name for name, number in stages.items() if number), None)
        return Measures(
            1 + max(blocks), width, patch, side, num_clr, head, multiplier, groups, shapes[classifier][0],
            reducer, stages.get(reducer, 0),
        )  # fmt: skip
    except (ValueError, IndexError) as error:
        raise UserError(f"the weights have the names of a ViT, but not its shapes ({error}).") from error
