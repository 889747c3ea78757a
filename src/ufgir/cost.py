"""The cost of a model: multiply-accumulates of one image, counted by fvcore."""

import math
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from ufgir.models import ReducedViT
from ufgir.models.blocks import Passage
from ufgir.models.modes import evaluating

ATTENTION = "scaled_dot_product_attention"


def count_macs(model: nn.Module, img_size: int) -> int:
    """Multiply-accumulates of the whole forward pass of one image, which the paper calls FLOPs.

    fvcore passes over the fused attention operator, so a handle for it is registered and, for our models, its count
    is checked against the token counts. Mode, buffers and dtype of the model are as before afterwards.

    Args:
        model: images (1, 3, S, S) -> logits.
        img_size: side S of the image, pixels. It shows noise, always the same: ATS keeps other numbers of other images.

    Raises:
        RuntimeError: the counted attention differs from the closed form.
    """
    parameter = next(model.parameters())
    image = example_image(img_size).to(parameter)
    with evaluating(model):
        analysis = FlopCountAnalysis(model, image).set_op_handle(f"aten::{ATTENTION}", _attention_macs)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        total, by_operator = int(analysis.total()), analysis.by_operator()
        if isinstance(model, ReducedViT):
            _check_attention(int(by_operator.get(ATTENTION, 0)), fused_attention_macs(model, image))
    return total


def example_image(img_size: int) -> torch.Tensor:
    """One image (1, 3, S, S) of noise, always the same."""
    return torch.randn(1, 3, img_size, img_size, generator=torch.Generator().manual_seed(0))


def fused_attention_macs(model: ReducedViT, image: torch.Tensor) -> int:
    """Closed form of what fused attention costs: 2 Q N C for each block that uses it, Q tokens attending to N."""
    passages: list[Passage] = []
    with evaluating(model):
        model.forward_features(image, observe=passages.append)
    return sum(2 * p.queries * p.attended.x.shape[1] * model.embed_dim for p in passages if p.is_fused)


def _check_attention(counted: int, expected: int) -> None:
    if counted != expected:
        raise RuntimeError(f"fvcore counted {counted} MACs of attention, the token counts give {expected}.")


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """MACs of softmax(Q K^T) V from the traced shapes: Q (..., N, D), K (..., M, D), V (..., M, E)."""
    query, key, value = (tensor.type().sizes() for tensor in inputs[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
