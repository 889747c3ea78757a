"""Backbones by name: which there are, what they are made of, and how they get their weights."""

import json
import re
from collections.abc import Mapping
from functools import cache as memoize
from typing import NamedTuple

import timm
import torch
from omegaconf import OmegaConf
from timm.layers import AttentionPoolLatent
from timm.models.vision_transformer import Attention, Block, VisionTransformer

from ufgir.errors import UserError, did_you_mean, show, summarize
from ufgir.models.vit import POOLS
from ufgir.utils import project_dir

OFFICIAL_FILES = {
    "vit_b_mocov3": "timm has no weights of MoCo v3. Give backbone.checkpoint=FILE with vit-b-300ep.pth.tar (linked "
    "from CONFIG.md of https://github.com/facebookresearch/moco-v3), or start from random weights with "
    "backbone.pretrained=false.",
}  # config names whose weights come from their authors alone, and how to get them
SIZE_LETTERS = {"embed_dim": "w", "depth": "d", "num_heads": "h", "patch_size": "p"}  # in labels, in this order
# What the adapter computes itself: a part that timm adds one day must not be skipped silently.
BLOCK_PARTS = {"norm1", "attn", "ls1", "drop_path1", "norm2", "mlp", "ls2", "drop_path2"}
ATTENTION_PARTS = {"qkv", "q_norm", "k_norm", "attn_drop", "norm", "proj", "proj_drop"}


class BackboneInfo(NamedTuple):
    """A backbone before it is built."""

    depth: int
    patch: tuple[int, int]  # pixels that one patch token stands for, height and width; a hybrid's stem included
    embed_dim: int


@memoize
def named_backbones() -> dict[str, tuple[str, dict]]:
    """Our config names: `conf/backbone/<name>.yaml` -> (timm name, kwargs)."""
    configs = {file.stem: OmegaConf.load(file) for file in sorted((project_dir("conf") / "backbone").glob("*.yaml"))}
    return {name: (config.name, OmegaConf.to_container(config.kwargs)) for name, config in configs.items()}


def timm_name_and_kwargs(backbone: str) -> tuple[str, dict]:
    """The timm name and sizes behind one of our config names; any other name is taken as timm's."""
    return named_backbones().get(backbone, (backbone, {}))


def backbone_label(name: str, kwargs: Mapping | None = None) -> str:
    """Short name of a backbone: ours where name and sizes are those of its file, else timm's and the sizes.

    For example `deit_s`, `vit_base_patch16_224.augreg_in1k`, `vit_tiny_patch16_224_w192_d24_h3_p8`.
    """
    plain = json.loads(json.dumps(dict(kwargs or {})))  # tuples as lists, as in a file
    for ours, known in named_backbones().items():
        if known == (name, plain):
            return ours
    keys = [key for key in SIZE_LETTERS if key in plain] + sorted(set(plain) - set(SIZE_LETTERS))
    sizes = [re.sub(r"[^\w.]+", "-", f"{SIZE_LETTERS.get(key, key)}{plain[key]}").strip("-") for key in keys]
    return "_".join([name.split(".")[0] if sizes else name, *sizes])


def describe(name: str, kwargs: Mapping | None = None) -> BackboneInfo:
    """Depth and sizes of a backbone by timm's name or ours, with sizes for timm's VisionTransformer.

    Raises:
        UserError: timm does not know the name or the sizes, or the model is not a plain ViT.
    """
    name, sizes = timm_name_and_kwargs(name)
    vit = build_on_meta(name, **{**sizes, **(kwargs or {})})
    return BackboneInfo(len(vit.blocks), tuple(vit.patch_embed.feat_ratio(as_scalar=False)), vit.embed_dim)


def why_no_weights(name: str, kwargs: Mapping) -> str | None:
    """Why timm has no trained weights of a backbone, and what to do; None if it has.

    Raises:
        UserError: as `describe`.
    """

    def sizes(vit: VisionTransformer) -> tuple[dict, int]:
        return {key: value.shape for key, value in vit.state_dict().items()}, vit.blocks[0].attn.num_heads

    if (label := backbone_label(name, kwargs)) in OFFICIAL_FILES:
        return f"backbone={label}: {OFFICIAL_FILES[label]}"
    vit = build_on_meta(name, **kwargs)
    if kwargs and sizes(vit) != sizes(build_on_meta(name)):
        return (
            f"backbone.kwargs={show(kwargs)}: there are no pretrained weights for these sizes. "
            "Use backbone.pretrained=false, or leave the sizes as they are."
        )
    source = timm.models.get_pretrained_cfg(name)
    if source is None or not source.has_weights:
        return f"backbone.name={name}: timm has no pretrained weights of it. Use backbone.pretrained=false."
    return None


def build_on_meta(name: str, **kwargs) -> VisionTransformer:
    """The model without memory for its weights; the same one for the same arguments, to be read only.

    Raises:
        UserError: timm has no such model, it cannot be built with these sizes, or it is not supported.
    """
    key = json.dumps([name, kwargs], sort_keys=True, default=repr)
    if key in _ON_META:
        return _ON_META[key]
    plain_name = name.split(".", 1)[0]
    if not timm.is_model(plain_name):
        known = [*named_backbones(), *timm.list_models(module="vision_transformer"), *timm.list_models(module="deit")]
        hint = did_you_mean(plain_name, known)
        raise UserError(f"backbone.name={name} is not a model of timm {timm.__version__}.{hint}")
    try:
        with torch.device("meta"):
            vit = timm.create_model(name, **kwargs)
    except Exception as error:  # timm raises many kinds for sizes that do not go together
        if kwargs:
            build_on_meta(name)  # what is no ViT at all is reported as such, not by the arguments that it lacks
        sizes = {key: value for key, value in kwargs.items() if key != "num_classes"}
        with_sizes = f" with {sizes}" if sizes else ""
        raise UserError(f"backbone.name={name} cannot be built{with_sizes} ({summarize(error)}).") from error
    if reason := unsupported(vit):
        raise UserError(f"backbone.name={name} is not supported: {reason}. Choose a plain timm ViT such as deit_s.")
    return _ON_META.setdefault(key, vit)


_ON_META: dict[str, VisionTransformer] = {}


def unsupported(model: torch.nn.Module) -> str | None:
    """Why a timm model cannot be wrapped, or None if it can: a plain VisionTransformer can."""
    if type(model) is not VisionTransformer:
        return f"it is a {type(model).__name__}, not a plain VisionTransformer"
    if model.global_pool not in POOLS:
        return f"it pools by global_pool={model.global_pool!r} instead of {', '.join(POOLS)}"
    if model.attn_pool is not None and type(model.attn_pool) is not AttentionPoolLatent:
        return f"it pools by a {type(model.attn_pool).__name__}"
    for part, known, kind in (("blocks", BLOCK_PARTS, Block), ("attention layers", ATTENTION_PARTS, Attention)):
        modules = [block if kind is Block else block.attn for block in model.blocks]
        if others := {type(module).__name__ for module in modules if type(module) is not kind}:
            return f"its {part} are built of {', '.join(sorted(others))}"
        if unknown := {name for module in modules for name, _ in module.named_children()} - known:
            return f"its {part} have parts that are not known here: {', '.join(sorted(unknown))}"
    return None
