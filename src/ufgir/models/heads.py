"""Heads that classify from the class tokens of several blocks instead of the last one alone.

A head is a module class `(dim, groups, num_classes, **options)` from (B, C, G) class tokens, C = dim and G = groups, to
(B, classes) logits, or with `num_classes=0` to features (B, width). Use one of your own by its class or `_target_`.
"""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ufgir.reducers.base import resolve_part


class CrossLayerHead(nn.Sequential):
    """CLA, the cross-layer aggregation head (paper, section 3.3): (B, C, G) class tokens -> (B, classes).

    `multiplier` m is the number of channels of the depthwise convolution per input channel; features are (B, mC).
    """

    def __init__(self, dim: int, groups: int, num_classes: int, multiplier: int = 2) -> None:
        if multiplier < 1:
            raise ValueError(f"multiplier={multiplier}: expected at least 1")
        hidden = multiplier * dim
        super().__init__(
            nn.BatchNorm1d(dim),
            nn.Conv1d(dim, hidden, kernel_size=groups, stride=groups, groups=dim),
            nn.BatchNorm1d(hidden),
            nn.GELU(),
            nn.Conv1d(hidden, num_classes, kernel_size=1) if num_classes else nn.Identity(),
        )

    def forward(self, x: Tensor) -> Tensor:
        norm, mix, hidden_norm, act, classify = self
        # Each convolution sees its whole input at once: as products they take a fraction of the time.
        weight = mix.weight.unflatten(0, (mix.groups, -1)).squeeze(2)  # (C, m, G)
        x = norm(x).transpose(0, 1) @ weight.transpose(1, 2)  # (C, B, m)
        x = act(hidden_norm(x.transpose(0, 1).flatten(1) + mix.bias))  # (B, mC)
        return F.linear(x, classify.weight.squeeze(-1), classify.bias) if isinstance(classify, nn.Conv1d) else x


class IntermediateFeatureHead(nn.Sequential):
    """IFA, intermediate feature aggregation (prior work): (B, C, G) class tokens -> (B, classes); features (B, C)."""

    def __init__(self, dim: int, groups: int, num_classes: int) -> None:
        super().__init__(
            nn.Linear(groups, 1),
            nn.Flatten(1),  # (B, C)
            nn.ReLU(),
            nn.LayerNorm(dim),
            nn.Linear(dim, num_classes) if num_classes else nn.Identity(),
        )


HEADS: dict[str, type[nn.Module]] = {"cla": CrossLayerHead, "ifa": IntermediateFeatureHead}


def resolve_head(head: str | Mapping | type[nn.Module]) -> tuple[type[nn.Module] | None, dict[str, Any]]:
    """The class of an aggregation head and its options; the class is None for `linear`, which is timm's own.

    Raises:
        ValueError: an unknown name or option, or a class that is no module.
    """
    return resolve_part("head", head, {"linear": None, **HEADS}, nn.Module, positional=3)
