"""The learning rate of each epoch: timm's cosine after a linear warm-up, then a cool-down at the lowest rate."""

from collections.abc import Mapping

import torch
from timm.scheduler import CosineLRScheduler


def epoch_rates(optim: Mapping, max_epochs: int) -> list[float]:
    """Learning rate of each of `max_epochs` epochs.

    The warm-up epochs are the first of the cosine's, which are all but those of the cool-down.

    Args:
        optim: `lr, min_lr, warmup_lr` and the numbers `warmup_epochs, cooldown_epochs`.
        max_epochs: total number of epochs.
    """
    probe = torch.optim.SGD([torch.zeros(1)], lr=optim["lr"])
    scheduler = CosineLRScheduler(
        probe,
        t_initial=max_epochs - optim["cooldown_epochs"],
        lr_min=optim["min_lr"],
        warmup_t=optim["warmup_epochs"],
        warmup_lr_init=optim["warmup_lr"],
        warmup_prefix=False,
    )
    rates = []
    for epoch in range(max_epochs):
        scheduler.step(epoch)
        rates.append(probe.param_groups[0]["lr"])
    return rates
