"""The optimiser: AdamW in one kernel, with weight decay where the paper has it."""

from collections.abc import Mapping

import torch
from torch import nn


def make_optimizer(model: nn.Module, optim: Mapping, *, clipped: bool = False) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained.

    Args:
        model: has timm's `no_weight_decay()`.
        optim: the group `optim` of the configuration: `lr, betas, eps, weight_decay`.
        clipped: whether gradients will be clipped, which Lightning does not do for a fused optimiser under 16-mixed.
    """
    groups = parameter_groups(model, optim["weight_decay"])
    kinds = {parameter.device.type for group in groups for parameter in group["params"]}
    fused = not clipped and kinds <= {"cpu", "cuda"}
    return torch.optim.AdamW(groups, lr=optim["lr"], betas=tuple(optim["betas"]), eps=optim["eps"], fused=fused)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Without decay: 1-D parameters, biases and what the model names. With it: the others."""
    excepted = model.no_weight_decay()
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[parameter.ndim > 1 and not name.endswith(".bias") and name not in excepted].append(parameter)
    return [{"params": groups[decay], "weight_decay": decay * weight_decay} for decay in groups]
