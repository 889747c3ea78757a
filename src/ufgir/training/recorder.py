"""What training leaves behind at each step and epoch, read from the device only at intervals."""

import math
import time
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from ufgir.errors import RunFailed

STEP_COLUMNS = ("lr", "train/step_loss", "train/grad_max", "train/grad_mean")
EPOCH_COLUMNS = ("epoch", "train/loss", "train/top1")


class Recorder(L.Callback):
    """Logs loss, gradient magnitude and learning rate of every step, and stops at a non-finite loss.

    The numbers stay on the device until the log interval or the next checkpoint, so that no step waits for the host.
    A non-finite loss is found there, and always before a checkpoint could hold what came of it.

    Args:
        every: log interval in optimiser steps.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.seconds = 0.0  # spent in training, over all attempts
        self._pending: list[tuple[int, int, float, Tensor]] = []

    def state_dict(self) -> dict[str, float]:
        return {"seconds": self._elapsed()}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        self.seconds = state_dict["seconds"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.monotonic()
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=pl_module.device)
        self._loss = torch.zeros((), device=pl_module.device)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds = self._elapsed()
        del self._started

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._step = trainer.global_step + 1

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)  # Lightning leaves it to the fused optimiser, too late for what is recorded here
        self._gradients = gradient_magnitudes(pl_module)
        self._rate = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"].detach().float()
        newly_bad = (self._first_bad < 0) & ~torch.isfinite(loss)
        self._first_bad = torch.where(newly_bad, self._step, self._first_bad)
        self._loss = self._loss + loss  # accumulated gradients: Lightning has divided each part's loss already
        if trainer.global_step < self._step:
            return
        row = torch.cat((self._loss[None], self._gradients))
        self._pending.append((self._step, trainer.current_epoch, self._rate, row))
        self._loss = torch.zeros_like(self._loss)
        if self._step % self.every == 0:
            self._flush(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._flush(trainer)
        summary = {name: value.item() for name, value in pl_module.epoch_summary().items()}
        self._log(trainer, {"epoch": trainer.current_epoch, **summary}, trainer.global_step)
        epoch_line = (
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss {summary['train/loss']:.4f}  "
            f"top-1 {summary['train/top1']:.1f} %  lr {self._rate:.2e}  {self._elapsed():.0f} s"
        )
        if trainer.is_global_zero:
            print(epoch_line, flush=True)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict) -> None:
        self._flush(trainer)

    def _elapsed(self) -> float:
        return self.seconds + (time.monotonic() - self._started if hasattr(self, "_started") else 0.0)

    def _flush(self, trainer: L.Trainer) -> None:
        """Bring the pending rows to the host and to the loggers; stop if a loss was not finite."""
        if self._pending:
            rows = torch.stack([row for *_, row in self._pending])
            values = trainer.strategy.reduce(rows, reduce_op="mean").tolist()  # over the processes of one run
            for (step, epoch, rate, _), row in zip(self._pending, values, strict=True):
                self._log(trainer, {"epoch": epoch, **dict(zip(STEP_COLUMNS, (rate, *row), strict=True))}, step)
            self._pending.clear()
        if (step := trainer.strategy.reduce(self._first_bad, reduce_op="max").item()) >= 0:
            raise RunFailed(
                f"the loss was not finite at step {step} (epoch {trainer.current_epoch + 1}). Lower optim.lr, or "
                "train in full precision with trainer.precision=32-true; metrics.csv has the gradients until then."
            )

    @staticmethod
    def _log(trainer: L.Trainer, metrics: dict[str, float], step: int) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step)
            logger.save()


def gradient_magnitudes(module: torch.nn.Module) -> Tensor:
    """Largest and mean absolute gradient over all parameters, as a (2,) tensor on their device."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    count = sum(gradient.numel() for gradient in gradients)
    return torch.stack((get_total_norm(gradients, math.inf), get_total_norm(gradients, 1.0) / count)).float()
