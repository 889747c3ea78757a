"""Weights of a backbone from a local file: timm's, and the official ones of DeiT, DINO, DINOv2, MAE, MoCo v3, CLIP."""

import argparse
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path

import timm
import torch
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor

from ufgir.errors import UserError

ENTRIES = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher")  # where files keep the weights, best first
PARTS = ("base_encoder.", "backbone.")  # the backbone within the trained whole: MoCo v3, DINO
LISTED = 8  # names of one kind of fault in a message, so that another model's file does not fill the screen


def load_weights(vit: VisionTransformer, path: str | Path, name: str) -> None:
    """Fill a timm ViT from a local file, position embeddings and patches resampled as timm does.

    A classifier of another number of classes, or a projection in its place, is left out.

    Args:
        vit: the model, its classifier new.
        path: file of `torch.save`, `.safetensors`, or `.npz` of Google's ViTs. No code in it is run.
        name: timm name of the model.

    Raises:
        UserError: the file cannot be read, or does not fit the model; missing and left-over entries are named.
    """
    path = Path(path).expanduser()
    try:
        if path.suffix == ".npz":
            faults = _load_npz(vit, path)
        else:
            faults = _load_entries(vit, _read_entries(path), name)
    except Exception as error:  # what is no file of weights fails in dozens of ways
        raise UserError(
            f"backbone.checkpoint={path} cannot be had ({reason_of(error)}). Start from random weights with "
            "backbone.pretrained=false, or give another file."
        ) from error
    if faults:
        raise UserError(
            f"backbone.checkpoint={path} does not fit {name}: {'; '.join(faults)}. "
            "Give a file with weights of this backbone, or choose the backbone that they are of."
        )


def reason_of(error: Exception) -> str:
    """An exception in one line."""
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *(line.rstrip(".") for line in lines[:1])])


def _read_entries(path: Path) -> dict[str, Tensor]:
    """The entries of the backbone in a file, whatever lies around them."""
    content = timm.models.load_state_dict(str(path)) if path.suffix == ".safetensors" else _unpickle(path)
    if not isinstance(content, Mapping):
        raise TypeError(f"a {type(content).__name__} where entries by name were expected")
    inner = next((content[key] for key in ENTRIES if isinstance(content.get(key), Mapping)), content)
    entries = {key: value for key, value in inner.items() if isinstance(value, Tensor)}
    if not entries:
        raise TypeError(f"no weights by name, but {', '.join(map(str, content)) or 'nothing'}")
    while all(key.startswith(("module.", "_orig_mod.")) for key in entries):  # left by DDP and torch.compile
        entries = {key.partition(".")[2]: value for key, value in entries.items()}
    for part in PARTS:
        entries = {key.removeprefix(part): entries[key] for key in entries if key.startswith(part)} or entries
    return entries


def _unpickle(path: Path) -> object:
    # Beside the weights many official files keep the words of their command line, which are plain values.
    with torch.serialization.safe_globals([argparse.Namespace]):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            try:
                kinds = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
            except Exception:  # not a file of torch.save at all
                kinds = []
            if not kinds:
                raise ValueError("it is not a file of torch.save, or is damaged") from error
            raise ValueError(f"it holds {', '.join(kinds)}, which might run code and are not read") from error


def _load_entries(vit: VisionTransformer, entries: dict[str, Tensor], name: str) -> list[str]:
    """Load entries in any names that timm knows; what does not fit, in which case the model is not changed."""
    wanted = vit.state_dict()
    # The two families for which timm resamples otherwise than by default.
    resampling = {"interpolation": "bilinear", "antialias": False} if "flexi" in name or "radio" in name else {}
    problem = []
    try:
        given = checkpoint_filter_fn(dict(entries), vit, adapt_layer_scale=True, **resampling)
    except Exception as error:  # such as position embeddings that form no square
        given, problem = entries, [reason_of(error)]
    heads = {key for key in wanted if key.startswith("head.")}
    fitting = {key: given[key] for key in heads if key in given and given[key].shape == wanted[key].shape}
    if len(fitting) < len(heads):
        fitting = {key: wanted[key] for key in heads}
    given = {key: value for key, value in given.items() if not key.startswith("head.")} | fitting
    faults = list(_differences(given, wanted)) or problem
    if not faults:
        vit.load_state_dict(given)
    return faults


def _differences(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[str]:
    if missing := [key for key in wanted if key not in given]:
        yield f"it lacks {_some(missing)}"
    if left_over := [key for key in given if key not in wanted]:
        yield f"the model has no {_some(left_over)}"
    others = [key for key in wanted if key in given and given[key].shape != wanted[key].shape]
    if others:
        shapes = [f"{key} {tuple(given[key].shape)} instead of {tuple(wanted[key].shape)}" for key in others]
        yield f"it has {_some(shapes)}"


def _some(names: list[str]) -> str:
    rest = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _load_npz(vit: VisionTransformer, path: Path) -> list[str]:
    """Let timm read a file of Google's, and tell what it has left as it was."""
    body = {key: value for key, value in vit.named_parameters() if not key.startswith("head.")}
    with torch.no_grad():
        for parameter in body.values():
            parameter.fill_(torch.nan)
        vit.load_pretrained(str(path))
    missing = [key for key, parameter in body.items() if parameter.isnan().any()]
    return [f"it lacks {_some(missing)}"] if missing else []
