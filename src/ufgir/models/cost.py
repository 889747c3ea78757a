"""The cost of a model: multiply-accumulates of one image, counted by fvcore or estimated from the configuration."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from ufgir.models.backbones import describe
from ufgir.models.cache import cache_options
from ufgir.models.heads import resolve_head
from ufgir.models.vit import BlockOutput, ReducedViT, evaluating, stage_keep_rates
from ufgir.reducers import Reducer, Stage, resolve_reducer

ATTENTION = "scaled_dot_product_attention"
MLP_RATIO = 4


def count_macs(model: nn.Module, img_size: int) -> int:
    """Multiply-accumulates of the whole forward pass of one image, which the paper calls FLOPs.

    fvcore does not know the fused attention operator, so a handle for it is registered and, for our models, its count
    is checked against the token counts. Mode, buffers and dtype of the model are as before afterwards.

    Args:
        model: images (1, 3, S, S) -> logits.
        img_size: side S of the image, pixels. It shows noise, always the same: ATS keeps other numbers of other images.

    Raises:
        RuntimeError: the counted attention differs from the closed form.
    """
    image = example_image(img_size).to(next(model.parameters()))
    with evaluating(model):
        analysis = FlopCountAnalysis(model, image).set_op_handle(f"aten::{ATTENTION}", _attention_macs)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        total, by_operator = int(analysis.total()), analysis.by_operator()
        counted = int(by_operator.get(ATTENTION, 0))
        if isinstance(model, ReducedViT) and counted != (expected := fused_attention_macs(model, image)):
            raise RuntimeError(f"fvcore counted {counted} MACs of attention, the token counts give {expected}.")
    return total


def example_image(img_size: int) -> torch.Tensor:
    """One image (1, 3, S, S) of noise, always the same."""
    return torch.randn(1, 3, img_size, img_size, generator=torch.Generator().manual_seed(0))


def fused_attention_macs(model: ReducedViT, image: torch.Tensor) -> int:
    """Closed form of what fused attention costs: 2 Q N C for each block that uses it, Q tokens attending to N."""
    blocks: list[BlockOutput] = []
    with evaluating(model):
        model.forward_features(image, observe=blocks.append)
    return sum(2 * block.queries * block.attended.x.shape[1] * model.embed_dim for block in blocks if block.is_fused)


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """MACs of softmax(Q K^T) V from the traced shapes: Q (..., N, D), K (..., M, D), V (..., M, E)."""
    query, key, value = (tensor.type().sizes() for tensor in inputs[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


@dataclass(frozen=True)
class CostEstimate:
    """The cost of a model that has not been built.

    Attributes:
        macs: multiply-accumulates of one image, without those of normalisation and of the reducers themselves.
        parameters: without those of the cache and of the reducers themselves.
        tokens: that leave each block, class token and registers included; for ATS at most.
    """

    macs: int
    parameters: int
    tokens: tuple[int, ...]


def estimate_cost(
    backbone: str,
    *,
    num_classes: int,
    img_size: int = 224,
    reducer: str | Mapping | type[Reducer] = "none",
    keep_rate: float | Sequence[float] = 1.0,
    reduction_layers: Sequence[int] = (3, 6, 9),
    cache: bool | Mapping = False,
    head: str | Mapping | type[nn.Module] = "linear",
    backbone_kwargs: Mapping | None = None,
) -> CostEstimate:
    """Estimate the cost of `create_model` with the same arguments; nothing is built and no image is processed."""
    info, cached = describe(backbone, backbone_kwargs), cache_options(cache)
    (height, width), dim = info.patch, info.embed_dim
    patches = (img_size // height) * (img_size // width)
    kind, options = resolve_reducer(reducer)
    rates = stage_keep_rates(keep_rate, len(reduction_layers))
    macs, tokens = patches * 3 * height * width * dim, []
    head_kind, head_options = resolve_head(head)
    with torch.device("meta"):
        stages = [Stage(s, rates, patches, dim, cached is not None) for s in range(len(rates))] if kind else []
        reducers = {
            layer: kind(stage, **options)
            for layer, stage in zip(reduction_layers, stages, strict=False)
            if stage.keep_rate < 1
        }
        groups = len({*reduction_layers, info.depth - 1})
        linear = nn.Linear(dim, num_classes)
        classifier = head_kind(dim, groups, num_classes, **head_options) if head_kind else linear
    for attended, queries, left in _tokens(info.depth, patches, reducers, reduction_layers, cached):
        attended, queries, left = (info.prefix + count for count in (attended, queries, left))
        tokens.append(left)
        macs += dim * (3 * attended * dim + 2 * attended * queries + queries * dim + 2 * MLP_RATIO * left * dim)
    weights = [parameter.numel() for parameter in classifier.parameters() if parameter.ndim > 1]
    parameters = info.parameters + sum(parameter.numel() for parameter in classifier.parameters())
    return CostEstimate(macs + sum(weights), parameters, tuple(tokens))


def _tokens(
    depth: int, patches: int, reducers: Mapping[int, Reducer], layers: Sequence[int], cached: Mapping | None
) -> list[tuple[int, int, int]]:
    """Tokens of each block without the prefix: attended to, attending, leaving, with the cache and the reducers."""
    appended = cached["num_clr"] if cached else 0
    body, entries, blocks = patches + appended, 0, []
    recovery = {*layers, *([depth - 2] if cached and cached["recover_at_last"] else [])}
    for layer in range(depth):
        attended = queries = left = body
        if reducer := reducers.get(layer):
            spared = appended if reducer.spares_appended else 0
            left = reducer.num_kept(body - spared) + spared
            attended = left if reducer.place == "before_block" else body
            queries = body if reducer.place == "after_attention" else left
        blocks.append((attended, queries, left))
        body = left
        if cached and layer in recovery:
            body, appended, entries = body + entries, appended + entries, 0
        if cached and layer < max(recovery):
            entries += cached["gap"] + cached["num_clr"]
    return blocks
