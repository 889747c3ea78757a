"""The authors' files, read without running anything that is in them."""

import argparse
import re
import types
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from zipfile import is_zipfile

import numpy as np
import torch
from torch import Tensor

from ufgir.errors import UserError

NUMPY_SCALAR = np.float64(0).__reduce__()[0]
# Beyond tensors and plain Python, these may be named in a file. None of them does more than to hold values; where a
# file's own class would have to be imported, a plain one of ours is made in its place.
READABLE = [
    argparse.Namespace,
    types.SimpleNamespace,
    *((OrderedDict, name) for name in ("yacs.config.CfgNode", "easydict.EasyDict")),
    *((PurePosixPath, f"pathlib.{name}") for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")),
    *((PurePosixPath, f"pathlib._local.{name}") for name in ("PosixPath", "PurePosixPath")),
    *((NUMPY_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "bool")),
]
SECTIONS = ("args", "config")  # first release, follow-up
WEIGHTS = ("model", "state_dict")
WRAPPERS = ("module.", "_orig_mod.", "model.")  # what DistributedDataParallel, torch.compile and a wrapper prepend
AVERAGED = ("model_ema", "ema")


@dataclass(frozen=True)
class Published:
    """A checkpoint of the authors.

    Attributes:
        path: the file.
        state_dict: weights by their names.
        section: the entry with the settings of the training, `args` or `config`; empty if there is none.
        settings: what that entry holds, by dotted lower-case name.
        remarks: what the user should know about the file, a sentence each.
    """

    path: Path
    state_dict: dict[str, Tensor]
    section: str
    settings: dict[str, object]
    remarks: tuple[str, ...]


def read_published(path: Path) -> Published:
    """Read a checkpoint of either layout, or bare weights; nothing from the file is executed.

    Raises:
        UserError: no such file, not a checkpoint, or one that names anything but tensors and plain values.
    """
    if not path.is_file():
        raise UserError(f"checkpoint={path} does not exist; give a checkpoint file of the paper's authors.")
    content = _load(path)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}, not a checkpoint of the paper's authors.")
    if {"format", "class_names", "state_dict"} <= set(content):
        raise UserError(f"{path} is a weights file of ufgir already: python -m ufgir.evaluate checkpoint={path}")
    entry = next((name for name in WEIGHTS if isinstance(content.get(name), Mapping)), None)
    weights = content if entry is None else content[entry]
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(
            f"{path} holds no weights: expected tensors by name under model, beside args or config; "
            f"it has {', '.join(map(str, content)) or 'nothing'}."
        )
    state_dict, remarks = _unwrapped({str(name): value for name, value in weights.items()})
    section = next((name for name in SECTIONS if entry is not None and content.get(name) is not None), "")
    settings = _flat(content[section]) if section else {}
    return Published(path, state_dict, section, settings, (*remarks, *_averaging(content)))


def _load(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(READABLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # which then fails, or does not
            # Mapped, the optimiser's states, two thirds of a file, are never read.
            return torch.load(path, map_location="cpu", mmap=is_zipfile(path), weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not a checkpoint, or holds code
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"{path} was refused: it names {named[1]}, which loading it in the usual way would run. Only tensors, "
                "plain values and argparse.Namespace are read from a checkpoint. Nothing in it was executed."
            ) from error
        if _is_pointer(path):
            raise UserError(
                f"{path} is a pointer of Git LFS, not the checkpoint itself: download it, for instance with "
                "`git lfs pull`."
            ) from error
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise UserError(
            f"{path} cannot be read as a checkpoint ({reason}). It is something else, or incomplete: "
            "compare its size with the published one."
        ) from error


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(40).startswith(b"version https://git-lfs")


def _unwrapped(state_dict: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Weights without the prefix of a wrapper that all their names share, and a remark on each such prefix."""
    remarks = []
    while shared := next((prefix for prefix in WRAPPERS if all(n.startswith(prefix) for n in state_dict)), None):
        state_dict = {name.removeprefix(shared): value for name, value in state_dict.items()}
        remarks.append(f"the prefix {shared} of all names was taken away.")
    return state_dict, remarks


def _averaging(content: Mapping) -> list[str]:
    """What to say of a moving average of the weights: `model` is what is converted, whatever else there is."""
    if held := next((name for name in AVERAGED if content.get(name) is not None), None):
        return [f"the moving average of the weights, {held}, is left out; model is converted."]
    if content.get("ema_best"):
        return ["ema_best: the authors' best accuracy is that of a moving average, which the file does not hold."]
    return []


def _flat(node: object, prefix: str = "") -> dict[str, object]:
    """Plain values by dotted lower-case name, out of nested mappings and namespaces."""
    values: dict[str, object] = {}
    for name, value in (node if isinstance(node, Mapping) else getattr(node, "__dict__", {})).items():
        key = f"{prefix}{name}".lower()
        if isinstance(value, Mapping | argparse.Namespace | types.SimpleNamespace):
            values.update(_flat(value, f"{key}."))
        else:
            values[key] = _plain(value)
    return values


def _plain(value: object) -> object:
    """A value as text, number or list of such; None where it is something else."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, PurePath | torch.device):
        return str(value)
    return value if isinstance(value, str | int | float) else None
