"""`create_model`: a model from names and numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ufgir.models import backbones
from ufgir.models.reduced_vit import ReducedViT


def create_model(
    backbone: str,
    *,
    num_classes: int,
    img_size: int = 224,
    pretrained: bool = False,
    reducer: str | Mapping = "none",
    keep_rate: float | Sequence[float] = 1.0,
    reduction_layers: Sequence[int] = (3, 6, 9),
    cache: bool | Mapping = False,
    head: str | Mapping = "linear",
    checkpoint: str | Path | None = None,
    backbone_kwargs: Mapping | None = None,
) -> ReducedViT:
    """Build a ViT with token reduction: images (B, 3, S, S) -> logits (B, classes).

    Args:
        backbone: a timm name such as `deit_small_patch16_224`, or one of our config names such as `deit_s`.
        num_classes: number of classes.
        img_size: side S of the images, pixels; position embeddings are resampled to it.
        pretrained: load timm's published weights; an error if they cannot be had.
        reducer: `none`, `topk`, `evit`, `tome`, `ats`, `dyvit`, `dpcknn`, `sit`, `patchmerger`, one of your own, or a
            mapping `name` and the reducer's own options.
        keep_rate: share of the tokens kept at each reduction layer, in (0, 1], or one for each; ignored for `none`.
        reduction_layers: 0-indexed blocks at which the reducer acts.
        cache: the cross-layer cache CLC: off, on, or `num_clr, gap, recover_at_last, pool_cls, pool_clr`.
        head: `linear` (timm's), `cla` (cross-layer aggregation), `ifa`, or a mapping `name, multiplier`.
        checkpoint: local file with weights of the backbone, instead of `pretrained`.
        backbone_kwargs: sizes for timm's VisionTransformer (`patch_size`, `embed_dim`, `depth`, `num_heads`, ...).

    Raises:
        UserError: unknown or unsupported backbone, or weights that cannot be had.
        ValueError: an option out of its range.
    """
    name, kwargs = backbones.timm_name_and_kwargs(backbone)
    vit = backbones.build(
        name,
        num_classes=num_classes,
        img_size=img_size,
        pretrained=pretrained,
        checkpoint=checkpoint,
        kwargs={**kwargs, **(backbone_kwargs or {})},
    )
    return ReducedViT(
        vit, reducer=reducer, keep_rate=keep_rate, reduction_layers=reduction_layers, cache=cache, head=head
    )
