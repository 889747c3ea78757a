"""The paper's learning-rate schedule."""

import torch
from timm.scheduler import CosineLRScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ufgir.config.schema import schedule_epochs


def paper_schedule(
    optimizer: Optimizer,
    *,
    max_epochs: int,
    min_lr: float = 1e-5,
    warmup_lr: float = 1e-6,
    warmup_epochs: int | None = None,
    cooldown_epochs: int | None = None,
) -> LambdaLR:
    """Linear warm-up, cosine by epoch, and a cool-down at the lowest rate (paper, section 4.1).

    Args:
        optimizer: its learning rate is the base rate.
        max_epochs: total number of epochs.
        min_lr: end of the cosine, and rate of the cool-down.
        warmup_lr: rate of the first epoch when there is a warm-up.
        warmup_epochs: the first of the cosine's epochs, timm's `warmup_prefix=False`; None: 2, fewer in short runs.
        cooldown_epochs: the last epochs; None: a tenth of all, at most 5.
    """
    base = optimizer.param_groups[0]["lr"]
    rates = epoch_rates(
        base, max_epochs, min_lr, warmup_lr, *schedule_epochs(max_epochs, warmup_epochs, cooldown_epochs)
    )
    return LambdaLR(optimizer, lambda epoch: rates[min(epoch, max_epochs - 1)] / base)


def epoch_rates(
    lr: float, max_epochs: int, min_lr: float, warmup_lr: float, warmup_epochs: int, cooldown_epochs: int
) -> list[float]:
    """Learning rate of each of `max_epochs` epochs."""
    if warmup_epochs == 0 and max_epochs - cooldown_epochs == 1:  # timm would warn that there is nothing to anneal
        return [lr] + [min_lr] * cooldown_epochs
    probe = torch.optim.SGD([torch.zeros(1)], lr=lr)
    scheduler = CosineLRScheduler(
        probe,
        t_initial=max_epochs - cooldown_epochs,
        lr_min=min_lr,
        warmup_t=warmup_epochs,
        warmup_lr_init=warmup_lr,
        warmup_prefix=False,
    )
    rates = []
    for epoch in range(max_epochs):
        scheduler.step(epoch)
        rates.append(probe.param_groups[0]["lr"])
    return rates
