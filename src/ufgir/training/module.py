"""The LightningModule: what is optimised, how, and what is measured."""

from collections.abc import Mapping

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from ufgir.training.optimizer import make_optimizer
from ufgir.training.schedule import epoch_rates


class ClassifierModule(L.LightningModule):
    """Trains and tests a classifier with cross-entropy; batches are images (B, 3, S, S) and class ids (B,).

    Args:
        model: images -> logits (B, classes).
        num_classes: number of classes.
        optim: the `optim` group of the configuration.
        max_epochs: total number of epochs, which the learning-rate schedule spans.
        seed: seed of the random numbers drawn while training.
        clipped: whether the trainer clips gradients.
    """

    def __init__(
        self, model: nn.Module, num_classes: int, optim: Mapping, max_epochs: int, seed: int, *, clipped: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.optim = optim
        self.max_epochs = max_epochs
        self.seed = seed
        self.clipped = clipped
        # What torchmetrics would check of every batch stops a GPU's queue; the recorder looks out for bad losses.
        top1 = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        top5 = MulticlassAccuracy(num_classes, average="micro", top_k=min(5, num_classes), validate_args=False)
        self.train_metrics = MetricCollection({"top1": top1.clone()})
        self.test_metrics = MetricCollection({"top1": top1, "top5": top5})
        self.train_loss, self.test_loss = (MeanMetric(nan_strategy="disable") for _ in range(2))

    def configure_optimizers(self) -> dict:
        """AdamW and a learning rate for each epoch."""
        optimizer = make_optimizer(self.model, self.optim, clipped=self.clipped)
        rates = epoch_rates(self.optim, self.max_epochs)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda epoch: rates[min(epoch, len(rates) - 1)] / self.optim["lr"]
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "epoch"}}

    def on_train_epoch_start(self) -> None:
        """Random numbers depend on seed, epoch and process alone, so a resumed run draws what it would have drawn."""
        stream = np.random.SeedSequence((self.seed, self.current_epoch, self.global_rank))
        torch.manual_seed(int(stream.generate_state(1)[0]))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Mean cross-entropy of the batch, and what the reducers ask for besides."""
        images, targets = batch
        logits = self.model(images)
        loss = F.cross_entropy(logits, targets) + self.model.reducer_loss()
        self.train_loss.update(loss.detach(), weight=len(targets))
        self.train_metrics.update(logits.detach(), targets)
        return loss

    def epoch_summary(self) -> dict[str, Tensor]:
        """Mean training loss and top-1 (in percent) since the last call."""
        summary = {"train/loss": self.train_loss.compute(), "train/top1": 100 * self.train_metrics.compute()["top1"]}
        self.train_loss.reset()
        self.train_metrics.reset()
        return summary

    def on_test_epoch_start(self) -> None:
        self.test_loss.reset()
        self.test_metrics.reset()

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Count the batch's hits and its loss; the logits (B, classes) go on to the callbacks."""
        images, targets = batch
        logits = self.model(images).float()
        self.test_loss.update(F.cross_entropy(logits, targets), weight=len(targets))
        self.test_metrics.update(logits, targets)
        return logits

    def test_summary(self) -> dict[str, float]:
        """`test_top1` and `test_top5` in percent, and `test_loss`, over the last test pass."""
        accuracy = self.test_metrics.compute()
        return {
            "test_top1": round(100 * accuracy["top1"].item(), 4),
            "test_top5": round(100 * accuracy["top5"].item(), 4),
            "test_loss": self.test_loss.compute().item(),
        }
