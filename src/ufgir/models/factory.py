"""A reduced ViT from names and numbers, or from a timm ViT that is there already."""

import copy
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from ufgir.errors import UserError, summarize
from ufgir.models.backbones import build_on_meta, timm_name_and_kwargs, unsupported, why_no_weights
from ufgir.models.vit import ReducedViT
from ufgir.models.weights import load_backbone
from ufgir.reducers import Reducer


def create_model(
    backbone: str,
    *,
    num_classes: int,
    img_size: int = 224,
    pretrained: bool = False,
    reducer: str | Mapping | type[Reducer] = "none",
    keep_rate: float | Sequence[float] = 1.0,
    reduction_layers: Sequence[int] = (3, 6, 9),
    cache: bool | Mapping = False,
    head: str | Mapping | type[nn.Module] = "linear",
    checkpoint: str | Path | None = None,
    backbone_kwargs: Mapping | None = None,
) -> ReducedViT:
    """Build a ViT with token reduction: images (B, 3, S, S) -> logits (B, classes).

    Args:
        backbone: a timm name such as `deit_small_patch16_224`, or one of our config names such as `deit_s`.
        num_classes: number of classes.
        img_size: side S of the images, pixels; position embeddings are resampled to it.
        pretrained: load timm's published weights; an error if they are not available.
        reducer: `none`, a name of `ufgir.reducers.REDUCERS` such as `evit`, a subclass of `Reducer`, or a mapping of
            `name` or `_target_` and the reducer's own options.
        keep_rate: share of the tokens kept at each reduction layer, in (0, 1], or one for each; ignored for `none`.
        reduction_layers: 0-indexed blocks at which the reducer acts.
        cache: the cross-layer cache CLC: off, on, or `num_clr, gap, recover_at_last, pool_cls, pool_clr`.
        head: `linear` (timm's), `cla` (cross-layer aggregation), `ifa`, a head class, or a mapping
            of `name` or `_target_` and the head's options, such as `multiplier`.
        checkpoint: local file with weights of the backbone, instead of `pretrained`.
        backbone_kwargs: sizes for timm's VisionTransformer (`patch_size`, `embed_dim`, `depth`, `num_heads`, ...).

    Raises:
        UserError: unknown or unsupported backbone, weights that are not available, or parts that do not go together.
        ValueError: an option out of its range.
    """
    name, kwargs = timm_name_and_kwargs(backbone)
    sizes = {**kwargs, **(backbone_kwargs or {})}
    options = {**sizes, "num_classes": num_classes, "img_size": img_size}
    build_on_meta(name, **options)
    if not pretrained or checkpoint is not None:
        vit = timm.create_model(name, **options)
        if checkpoint is not None:
            load_backbone(vit, checkpoint, name)
    elif reason := why_no_weights(name, sizes):
        raise UserError(reason)
    else:
        try:
            vit = timm.create_model(name, pretrained=True, **options)
        except Exception as error:  # timm and the hub raise dozens of kinds here: no network, no such weights
            offline = " HF_HUB_OFFLINE is set." if constants.HF_HUB_OFFLINE else ""
            raise UserError(
                f"backbone.name={name}: could not download pretrained weights ({summarize(error)}).{offline} Start "
                "from random weights with backbone.pretrained=false, or give a file with backbone.checkpoint=FILE."
            ) from error
    return ReducedViT(
        vit, reducer=reducer, keep_rate=keep_rate, reduction_layers=reduction_layers, cache=cache, head=head
    )


def model_on_meta(
    backbone: str, *, num_classes: int, img_size: int = 224, backbone_kwargs: Mapping | None = None, **parts: Any
) -> ReducedViT:
    """What `create_model` builds of the same arguments, without memory for its weights. Its errors are the same.

    For the same arguments it is the same model, to be read only: the runs of a grid have few models.
    """
    key = json.dumps([backbone, num_classes, img_size, backbone_kwargs, parts], default=lambda one: f"{one} {id(one)}")
    if key in _ON_META:
        return _ON_META[key]
    name, kwargs = timm_name_and_kwargs(backbone)
    # Data sets of other numbers of classes share a backbone, which is most of the work.
    vit = build_on_meta(name, **{**kwargs, **(backbone_kwargs or {}), "num_classes": 2, "img_size": img_size})
    with torch.device("meta"), warnings.catch_warnings(action="ignore"):
        model = ReducedViT(vit, **parts)
        if num_classes != 2:
            model.reset_classifier(num_classes)
    return _ON_META.setdefault(key, model)


_ON_META: dict[str, ReducedViT] = {}


def wrap(vit: VisionTransformer, *, num_classes: int | None = None, img_size: int | None = None, **parts) -> ReducedViT:
    """Give token reduction and the plug-ins to a timm ViT: images (B, 3, S, S) -> logits (B, classes).

    `vit` is copied, weights included, and stays as it is. The result has timm's parameter names for all that it shares
    with it, so `vit.load_state_dict(wrapped.state_dict(), strict=False)` brings trained weights back. Train it with
    any loop; for DynamicViT add `wrapped.reducer_loss()` to the loss.

    Args:
        vit: a plain timm `VisionTransformer`.
        num_classes: number of classes; another one than the ViT's gets a new classifier. None: the ViT's own.
        img_size: side S of the images, pixels; position embeddings are resampled to it. None: the ViT's own.
        parts: reducer, keep_rate, reduction_layers, cache and head, as in `create_model`.

    Raises:
        UserError: the ViT cannot be wrapped, or not with these parts or this size; the message says why.
        ValueError: an option out of its range.
    """
    if reason := unsupported(vit):
        raise UserError(f"this model cannot be wrapped: {reason}. Give a plain timm ViT such as deit_tiny_patch16_224.")
    vit = copy.deepcopy(vit)
    if img_size is not None and vit.patch_embed.img_size != (img_size, img_size):
        height, width = vit.patch_embed.feat_ratio(as_scalar=False)
        if img_size % height or img_size % width:
            raise UserError(f"img_size={img_size}: expected a multiple of the patch size, {height} x {width} pixels.")
        vit.set_input_size(img_size=(img_size, img_size))
    if num_classes is not None and num_classes != vit.num_classes:
        vit.reset_classifier(num_classes)
    if vit.num_classes == 0:
        raise UserError("this model has no classifier (num_classes=0); give num_classes.")
    return ReducedViT(vit, **parts)
