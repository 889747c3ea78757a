"""The cost of a model: multiply-accumulates of one image, counted by fvcore or estimated from the configuration."""

import math
from typing import Any, NamedTuple

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from ufgir.models.factory import model_on_meta
from ufgir.models.vit import BlockOutput, ReducedViT, evaluating

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
    """The cost of a model that has not been built."""

    macs: int  # multiply-accumulates of one image, without those of normalisation and of the reducers themselves
    parameters: int
    tokens: tuple[int, ...]  # that leave each block, class token and registers included; for ATS at most


def estimate_cost(backbone: str, **arguments: Any) -> CostEstimate:
    """Estimate the cost of `create_model` with the same arguments; nothing is allocated and no image is processed."""
    model = model_on_meta(backbone, **arguments)
    dim, prefix, cache, body = model.embed_dim, model.num_prefix_tokens, model.cache, model.patch_embed.num_patches
    reducers = {int(layer): reducer for layer, reducer in model.reducers.items()}
    recovery = cache.recovery_layers if cache is not None else ()
    macs, tokens = body * 3 * math.prod(model.patch_embed.feat_ratio(as_scalar=False)) * dim, []
    appended = cache.num_clr if cache is not None else 0  # of the sequence's tokens from the cache
    body, entries = body + appended, 0  # of the cache itself
    for layer in range(len(model.blocks)):
        attended = queries = left = body
        if layer in reducers:
            reducer = reducers[layer]
            spared = appended if reducer.spares_appended else 0
            left = reducer.num_kept(body - spared) + spared
            attended = left if reducer.place() == "before_block" else body
            queries = body if reducer.place() == "after_attention" else left
        attended, queries, body = prefix + attended, prefix + queries, left
        macs += dim * (3 * attended * dim + 2 * attended * queries + queries * dim)
        macs += 2 * MLP_RATIO * (prefix + left) * dim**2
        tokens.append(prefix + left)
        if layer in recovery:
            body, appended, entries = body + entries, appended + entries, 0
        if recovery and layer < recovery[-1]:
            entries += cache.gap + min(cache.num_clr, prefix + body)
    macs += sum(weight.numel() for weight in model.head.parameters() if weight.ndim > 1)
    return CostEstimate(macs, sum(weight.numel() for weight in model.parameters()), tuple(tokens))
