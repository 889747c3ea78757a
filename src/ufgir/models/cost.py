"""The cost of a model: multiply-accumulates of one image, counted by fvcore or estimated from the configuration."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
    is checked against the token counts. Mode, buffers and dtype of the model are as before afterwards. The image, of
    `img_size` pixels a side, shows noise, always the same: ATS keeps other numbers of tokens of other images.

    Raises:
        RuntimeError: the counted attention differs from the closed form.
    """
    image = example_image(img_size).to(next(model.parameters()))
    with evaluating(model):
        analysis = FlopCountAnalysis(model, image).set_op_handle(f"aten::{ATTENTION}", _attention_macs)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        total, by_operator = int(analysis.total()), analysis.by_operator()
        counted = int(by_operator.get(ATTENTION, 0))
        blocks: list[BlockOutput] = []
        if isinstance(model, ReducedViT):
            model.forward_features(image, observe=blocks.append)
        # 2 Q N C for each block on the fused operator, Q tokens attending to N.
        expected = sum(2 * b.queries * b.attended.x.shape[1] * model.embed_dim for b in blocks if b.is_fused)
        if blocks and counted != expected:
            raise RuntimeError(f"fvcore counted {counted} MACs of attention, the token counts give {expected}.")
    return total


def example_image(img_size: int) -> torch.Tensor:
    """One image (1, 3, S, S) of noise, always the same."""
    return torch.randn(1, 3, img_size, img_size, generator=torch.Generator().manual_seed(0))


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """MACs of softmax(Q K^T) V from the traced shapes: Q (..., N, D), K (..., M, D), V (..., M, E)."""
    query, key, value = (tensor.type().sizes() for tensor in inputs[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


class CostEstimate(NamedTuple):
    """The cost of a model that has not been built, without the reducers' own computations and parameters."""

    macs: int  # multiply-accumulates of one image, without those of normalisation
    parameters: int  # without those of the cache
    tokens: tuple[int, ...]  # that leave each block, class token and registers included; for ATS at most


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
    (height, width), dim, prefix = info.patch, info.embed_dim, info.prefix
    patches = (img_size // height) * (img_size // width)
    (kind, options), (head_kind, head_options) = resolve_reducer(reducer), resolve_head(head)
    rates = stage_keep_rates(keep_rate, len(reduction_layers))
    with torch.device("meta"):
        reducers = {
            layer: kind(Stage(s, rates, patches, dim, cached is not None), **options)
            for s, layer in enumerate(reduction_layers if kind else ())
            if rates[s] < 1
        }
        groups = len({*reduction_layers, info.depth - 1})
        linear = nn.Linear(dim, num_classes)
        classifier = head_kind(dim, groups, num_classes, **head_options) if head_kind else linear
    macs, tokens, recovery = patches * 3 * height * width * dim, [], set(reduction_layers)
    appended = entries = 0  # of the sequence's tokens from the cache, and of the cache itself
    if cached:
        appended = cached["num_clr"]
        recovery |= {info.depth - 2} if cached["recover_at_last"] else set()
    body = patches + appended
    for layer in range(info.depth):
        attended = queries = left = body
        if reducer := reducers.get(layer):
            spared = appended if reducer.spares_appended else 0
            left = reducer.num_kept(body - spared) + spared
            attended = left if reducer.place() == "before_block" else body
            queries = body if reducer.place() == "after_attention" else left
        attended, queries, body = prefix + attended, prefix + queries, left
        macs += dim * (3 * attended * dim + 2 * attended * queries + queries * dim)
        macs += 2 * MLP_RATIO * (prefix + left) * dim**2
        tokens.append(prefix + left)
        if cached and layer in recovery:
            body, appended, entries = body + entries, appended + entries, 0
        if cached and layer < max(recovery):
            entries += cached["gap"] + min(cached["num_clr"], prefix + body)
    weights = list(classifier.parameters())
    macs += sum(weight.numel() for weight in weights if weight.ndim > 1)
    return CostEstimate(macs, info.parameters + sum(weight.numel() for weight in weights), tuple(tokens))
