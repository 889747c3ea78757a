"""The paper's learning-rate schedule."""

import math

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
    base = optimizer.defaults["lr"]
    warmup, cooldown = schedule_epochs(max_epochs, warmup_epochs, cooldown_epochs)
    annealed = max_epochs - cooldown

    def rate(epoch: int) -> float:
        if epoch < warmup:
            return warmup_lr + epoch * ((base - warmup_lr) / warmup)
        if epoch >= annealed:
            return min_lr
        return min_lr + 0.5 * (base - min_lr) * (1 + math.cos(math.pi * epoch / annealed))

    return LambdaLR(optimizer, lambda epoch: rate(min(epoch, max_epochs - 1)) / base)
