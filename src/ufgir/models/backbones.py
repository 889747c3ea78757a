"""Backbones by name: which there are, what they are made of, and how they get their weights."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache as memoize
from pathlib import Path
from typing import Any

import timm
import torch
from omegaconf import OmegaConf
from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch.overrides import TorchFunctionMode

from ufgir.errors import UserError
from ufgir.models.weights import load_weights, reason_of
from ufgir.resources import group_files

OFFICIAL_FILES = {
    "vit_b_mocov3": "timm has no weights of MoCo v3. Give backbone.checkpoint=FILE with vit-b-300ep.pth.tar (linked "
    "from CONFIG.md of https://github.com/facebookresearch/moco-v3), or start from random weights with "
    "backbone.pretrained=false.",
}  # config names whose weights come from their authors alone, and how to get them
POOLS = ("token", "avg")
# What the adapter computes itself: a part that timm adds one day must not be passed over in silence.
BLOCK_PARTS = {"norm1", "attn", "ls1", "drop_path1", "norm2", "mlp", "ls2", "drop_path2"}
ATTENTION_PARTS = {"qkv", "q_norm", "k_norm", "attn_drop", "norm", "proj", "proj_drop"}


@dataclass(frozen=True)
class BackboneFacts:
    """What the rest of the program must know of a backbone before it is built.

    Attributes:
        patch: pixels that one patch token stands for, height and width; in a hybrid the stem's stride included.
        prefix: class token and registers.
        parameters: of all but the classifier.
    """

    depth: int
    patch: tuple[int, int]
    embed_dim: int
    num_heads: int
    prefix: int
    parameters: int


@memoize
def named_backbones() -> dict[str, tuple[str, dict]]:
    """Our config names: `conf/backbone/<name>.yaml` -> (timm name, kwargs)."""
    configs = {file.stem: OmegaConf.load(file) for file in group_files("backbone")}
    return {name: (config.name, dict(config.kwargs)) for name, config in configs.items() if "name" in config}


def timm_name_and_kwargs(backbone: str) -> tuple[str, dict]:
    """The timm name and sizes behind one of our config names; any other name is taken as timm's."""
    return named_backbones().get(backbone, (backbone, {}))


def config_name(name: str, kwargs: Mapping) -> str:
    """Our name of a backbone if it has one, else timm's. Ours with sizes of their own keep them in `kwargs`."""
    ours = [ours for ours, (theirs, sizes) in named_backbones().items() if theirs == name and set(sizes) <= set(kwargs)]
    return ours[0] if ours else name


def describe(name: str, kwargs: Mapping | None = None) -> BackboneFacts:
    """Facts of a backbone, without building its weights.

    Args:
        name: a timm name, or one of our config names.
        kwargs: sizes for timm's VisionTransformer.

    Raises:
        UserError: timm does not know the name or the sizes, or the model is not a plain ViT with a class token.
    """
    name, sizes = timm_name_and_kwargs(name)
    vit = on_paper(name, **{**sizes, **(kwargs or {})})
    patch = vit.patch_embed.feat_ratio(as_scalar=False)
    parameters = sum(parameter.numel() for name, parameter in vit.named_parameters() if not name.startswith("head."))
    heads = vit.blocks[0].attn.num_heads
    return BackboneFacts(len(vit.blocks), tuple(patch), vit.embed_dim, heads, vit.num_prefix_tokens, parameters)


def facts_of(backbone: Mapping[str, Any]) -> BackboneFacts:
    """As `describe`, of the node `backbone` of a configuration; every backbone once, for the thousands of a grid."""
    return _described(backbone["name"], json.dumps(backbone["kwargs"]))


@memoize
def _described(name: str, kwargs: str) -> BackboneFacts:
    return describe(name, json.loads(kwargs))


def official_file(name: str, kwargs: Mapping) -> str | None:
    """How to get the weights of a backbone that timm has none of; None for the others."""
    ours = config_name(name, kwargs)
    return f"backbone={ours}: {OFFICIAL_FILES[ours]}" if ours in OFFICIAL_FILES else None


def has_other_sizes(name: str, kwargs: Mapping) -> bool:
    """Whether `kwargs` make it another model than the one of this name, of which there may be trained weights."""
    if not kwargs:
        return False
    models = on_paper(name, **kwargs), on_paper(name)
    ours, theirs = ({key: value.shape for key, value in vit.state_dict().items()} for vit in models)
    return ours != theirs or models[0].blocks[0].attn.num_heads != models[1].blocks[0].attn.num_heads


def build(
    name: str,
    *,
    num_classes: int,
    img_size: int,
    pretrained: bool = False,
    checkpoint: str | Path | None = None,
    kwargs: Mapping | None = None,
) -> VisionTransformer:
    """A timm VisionTransformer for `img_size` pixels and `num_classes`, position embeddings resampled as timm does.

    Args:
        name: timm name.
        num_classes: number of classes of its new linear head.
        img_size: side of the input images, pixels.
        pretrained: load timm's published weights.
        checkpoint: file with weights of this backbone, see `weights.load_weights`; then `pretrained` has no effect.
        kwargs: sizes for timm's VisionTransformer.

    Raises:
        UserError: unknown or unsupported model, or its weights cannot be had; never a silent random start.
    """
    sizes = dict(kwargs or {})
    kwargs = {**sizes, "num_classes": num_classes, "img_size": img_size}
    on_paper(name, **kwargs)
    if checkpoint is not None:
        vit = timm.create_model(name, **kwargs)
        load_weights(vit, checkpoint, name)
        return vit
    if not pretrained:
        return timm.create_model(name, **kwargs)
    if text := official_file(name, sizes):
        raise UserError(text)
    if has_other_sizes(name, sizes):
        raise UserError(f"{name} with {sizes}: there are no trained weights of these sizes.")
    try:
        return timm.create_model(name, pretrained=True, **kwargs)
    except Exception as error:  # timm and the hub raise dozens of kinds here: no network, no such weights
        raise UserError(
            f"the pretrained weights of {name} cannot be had ({reason_of(error)}). Start from random weights with "
            "backbone.pretrained=false, or name a local file with backbone.checkpoint=FILE."
        ) from error


def on_paper(name: str, **kwargs) -> VisionTransformer:
    """The model without memory for its weights; faults of name and sizes are told in the user's words."""
    plain_name = name.split(".", 1)[0]
    if not timm.is_model(plain_name):
        known = [*named_backbones(), *timm.list_models(module="vision_transformer"), *timm.list_models(module="deit")]
        near = difflib.get_close_matches(plain_name, known, n=3)
        hint = f" Nearest: {', '.join(near)}." if near else ""
        raise UserError(f"backbone.name={name} is not a model of timm {timm.__version__}.{hint}")
    try:
        with torch.device("meta"), _LinspaceOnCpu():
            vit = timm.create_model(name, **kwargs)
    except Exception as error:  # timm raises many kinds for sizes that do not go together
        if kwargs:
            on_paper(name)  # what is no ViT at all is told as such, and not by the arguments that it does not take
        sizes = {key: value for key, value in kwargs.items() if key != "num_classes"}
        with_sizes = f" with {sizes}" if sizes else ""
        raise UserError(f"backbone.name={name} cannot be built{with_sizes} ({reason_of(error)}).") from error
    if reason := unsupported(vit):
        raise UserError(f"backbone.name={name} is not supported: {reason}. Choose a plain timm ViT such as deit_s.")
    return vit


class _LinspaceOnCpu(TorchFunctionMode):
    """Older timm reads the rates of stochastic depth out of a `linspace`, and on "meta" a tensor has no values."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


def unsupported(model: torch.nn.Module) -> str | None:
    """Why a timm model cannot be wrapped, or None if it can: a plain VisionTransformer with a class token can."""
    if type(model) is not VisionTransformer:
        return f"it is a {type(model).__name__}, not a plain VisionTransformer"
    if not model.has_class_token:
        return "it has no class token, from which tokens are scored and aggregated"
    if model.attn_pool is not None:
        return "it pools by attention instead of the class token"
    if model.global_pool not in POOLS:
        return f"it pools by global_pool={model.global_pool!r} instead of {' or '.join(POOLS)}"
    kinds = {type(block).__name__ for block in model.blocks if type(block) is not Block}
    kinds |= {type(block.attn).__name__ for block in model.blocks if not kinds and type(block.attn) is not Attention}
    if kinds:
        return f"its blocks are built of {', '.join(sorted(kinds))}"
    parts = {part for block in model.blocks for part, _ in block.named_children()} - BLOCK_PARTS
    parts |= {part for block in model.blocks for part, _ in block.attn.named_children()} - ATTENTION_PARTS
    return f"its blocks have parts that are not known here: {', '.join(sorted(parts))}" if parts else None
