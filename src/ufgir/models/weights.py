"""Weights of a backbone from a local file.

Reads timm's own layout, the official ones of DeiT, DINO, DINOv2, MAE, MoCo v3 and CLIP, those of Hugging Face
Transformers (ViT, DINOv2), and Google's `.npz`.
"""

import argparse
import logging
import re
import types
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from zipfile import is_zipfile

import numpy as np
import timm
import torch
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor

from ufgir.errors import UserError, summarize
from ufgir.utils import first_ten

_logger = logging.getLogger(__name__)
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
WRAPPERS = ("module.", "_orig_mod.", "model.")
ENTRIES = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher")  # where files keep the weights, best first
PREFIXES = ("base_encoder.", "backbone.", "vit.", "dinov2.", "dinov2_with_registers.")  # the backbone within the whole
TRANSFORMERS = (  # names of Hugging Face Transformers, as patterns, and those of timm or of DINOv2
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.(cls_token|mask_token|register_tokens)$", r"\1"),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.weights_out\.", ".mlp.w3."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)


def load_backbone(vit: VisionTransformer, path: str | Path, name: str) -> None:
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
        is_npz = path.suffix == ".npz"
        loaded, problems = _load_npz(vit, path) if is_npz else _load_entries(vit, _read_entries(path), name)
    except Exception as error:  # a file that holds no weights fails in dozens of ways
        raise UserError(
            f"backbone.checkpoint={path} cannot be read ({summarize(error)}). Start from random weights with "
            "backbone.pretrained=false, or give another file."
        ) from error
    if problems:
        raise UserError(
            f"backbone.checkpoint={path} does not fit {name}: {'; '.join(problems)}. "
            "Give a file with weights of this backbone, or choose the backbone of this file."
        )
    rest = len(vit.state_dict()) - loaded
    _logger.info(f"{path}: {loaded} tensors loaded{f', {rest} of the classifier are new' if rest else ''}")


def _read_entries(path: Path) -> dict[str, Tensor]:
    """The entries of the backbone in a file, in names that timm knows; other entries are dropped."""
    content = timm.models.load_state_dict(str(path)) if path.suffix == ".safetensors" else unpickle(path)
    if not isinstance(content, Mapping):
        raise TypeError(f"a {type(content).__name__} where entries by name were expected")
    inner = next((content[key] for key in ENTRIES if isinstance(content.get(key), Mapping)), content)
    entries = {key: value for key, value in inner.items() if isinstance(value, Tensor)}
    if not entries:
        raise TypeError(f"no weights by name, but {', '.join(map(str, content)) or 'nothing'}")
    entries = without_wrappers(entries)
    classifier = {key: value for key, value in entries.items() if key.startswith("classifier.")}
    for prefix in PREFIXES:
        entries = {key.removeprefix(prefix): entries[key] for key in entries if key.startswith(prefix)} or entries
    is_transformers = "embeddings.patch_embeddings.projection.weight" in entries
    return _from_transformers(entries | classifier) if is_transformers else entries


def _from_transformers(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Entries of a ViT or DINOv2 of Hugging Face Transformers in the names of timm or of DINOv2."""
    renamed = {}
    for key, value in entries.items():
        if key.startswith("pooler."):
            continue
        if match := re.fullmatch(r"(encoder\.layer\.\d+)\.attention\.attention\.query\.(weight|bias)", key):
            parts = [entries[f"{match[1]}.attention.attention.{part}.{match[2]}"] for part in ("query", "key", "value")]
            key, value = f"{match[1]}.attn.qkv.{match[2]}", torch.cat(parts)
        elif re.search(r"\.attention\.attention\.(key|value)\.", key):
            continue
        for theirs, ours in TRANSFORMERS:
            key = re.sub(theirs, ours, key)
        renamed[key] = value
    return renamed


def unpickle(path: Path) -> object:
    """What a file of `torch.save` holds, if that is tensors and plain values. No code in it is run.

    Raises:
        ValueError: it names anything else, or is no such file.
    """
    try:
        with torch.serialization.safe_globals(READABLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # the load itself decides
            # Memory-mapped: an optimizer's states, often two thirds of a file, are never read.
            return torch.load(path, map_location="cpu", mmap=is_zipfile(path), weights_only=True)
    except Exception as error:  # torch raises many types for a file that is no checkpoint, or that holds code
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(
                f"it names {named[1]}, which an ordinary load would run; nothing in it was executed, as only tensors, "
                "plain values and argparse.Namespace are read"
            ) from error
        with path.open("rb") as stream:
            if stream.read(40).startswith(b"version https://git-lfs"):
                raise ValueError("it is a Git LFS pointer; run `git lfs pull`") from error
        raise ValueError(f"it is no file of torch.save, or incomplete: {summarize(error)}") from error


def without_wrappers(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same entries without a prefix that all of them got from DDP, torch.compile or a wrapper."""
    while prefix := next((p for p in WRAPPERS if entries and all(key.startswith(p) for key in entries)), None):
        entries = {key.removeprefix(prefix): value for key, value in entries.items()}
    return dict(entries)


def _load_entries(vit: VisionTransformer, entries: dict[str, Tensor], name: str) -> tuple[int, list[str]]:
    """Load entries in any names that timm knows, or change nothing; how many tensors, and what does not fit."""
    wanted, problem = vit.state_dict(), []
    # The two families for which timm resamples otherwise than by default.
    resampling = {"interpolation": "bilinear", "antialias": False} if "flexi" in name or "radio" in name else {}
    try:
        given = checkpoint_filter_fn(dict(entries), vit, adapt_layer_scale=True, **resampling)
    except Exception as error:  # such as position embeddings that form no square
        given, problem = entries, [summarize(error)]
    new = {key: value for key, value in wanted.items() if key.startswith("head.")}
    fits = all(key in given and given[key].shape == value.shape for key, value in new.items())
    body = {key: value for key, value in given.items() if not key.startswith("head.")}
    loaded = body | {key: given[key] if fits else value for key, value in new.items()}
    problems = shape_differences(loaded, wanted) or problem
    if not problems:
        vit.load_state_dict(loaded)
    return len(loaded if fits else body), problems


def shape_differences(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What `given` lacks, what it has beside `wanted`, and what is of another shape; a phrase for each kind."""
    shapes = {key: (tuple(given[key].shape), tuple(wanted[key].shape)) for key in wanted if key in given}
    kinds = {
        "it lacks ": [key for key in wanted if key not in given],
        "the model has no ": [key for key in given if key not in wanted],
        "it has ": [f"{key} {found} instead of {due}" for key, (found, due) in shapes.items() if found != due],
    }
    return [phrase + first_ten(names) for phrase, names in kinds.items() if names]


def _load_npz(vit: VisionTransformer, path: Path) -> tuple[int, list[str]]:
    """Let timm read a file of Google's; how many tensors it changed, and what it left unchanged."""
    body = {key: value for key, value in vit.named_parameters() if not key.startswith("head.")}
    with torch.no_grad():
        for parameter in body.values():
            parameter.fill_(torch.nan)
        vit.load_pretrained(str(path))
    missing = [key for key, parameter in body.items() if parameter.isnan().any()]
    return len(body) - len(missing), [f"it lacks {first_ten(missing)}"] if missing else []
