"""`LitClassifier`: a LightningModule that trains and tests any image classifier."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from timm.optim import param_groups_weight_decay
from timm.scheduler.scheduler import Scheduler as TimmScheduler
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from ufgir.config import parts
from ufgir.models import create_model

DEFAULT_OPTIM = {"_target_": "timm.optim.create_optimizer_v2", "opt": "adamw", "lr": 1e-4, "weight_decay": 0.05}
WEIGHT_SOURCES = {"pretrained": False, "checkpoint": None}  # not needed again where a checkpoint holds the weights


class Accuracy(MulticlassAccuracy):
    """Accuracy in percent. Nothing is checked at each batch, which would stop a GPU's queue."""

    def __init__(self, num_classes: int, top_k: int = 1) -> None:
        super().__init__(num_classes, average="micro", top_k=min(top_k, num_classes), validate_args=False)

    def compute(self) -> Tensor:
        return 100 * super().compute()


class LitClassifier(L.LightningModule):
    """Trains and tests a classifier with cross-entropy. Batches are images (B, 3, S, S) and classes (B,).

    Logs `train/loss`, `train/top1`, `val/loss`, `val/top1`, `val/top5`, `test/loss`, `test/top1`, `test/top5` for each
    epoch (accuracies in percent), and `train/step_loss` at the log interval.

    Args:
        model: any module, images (B, 3, S, S) -> logits (B, classes), or the arguments of `ufgir.create_model`, which
            are saved in checkpoints, so that `LitClassifier.load_from_checkpoint(file)` needs nothing else.
        num_classes: number of classes; needed where `model` is a module.
        optim: `_target_` and arguments of an optimizer or of `timm.optim.create_optimizer_v2`, or a callable that makes
            one of a module or of parameter groups. Without `_target_`, arguments of timm's. None: AdamW with learning
            rate 1e-4 and weight decay 0.05.
        schedule: `_target_` and arguments of a scheduler of torch or timm, or a callable that makes one of an
            optimizer. `interval: step` steps after every batch instead of every epoch; `monitor` (`val/loss`) is what
            ReduceLROnPlateau looks at. None: a constant rate.
        label_smoothing: of the training loss, in [0, 1).
        seed: draw the random numbers of each epoch from (seed, epoch, rank), so that a resumed training equals one
            without interruption. None: leave torch's generators alone.
        class_names: saved in checkpoints.
    """

    def __init__(
        self,
        model: nn.Module | Mapping[str, Any],
        *,
        num_classes: int | None = None,
        optim: Mapping[str, Any] | Callable[..., torch.optim.Optimizer] | None = None,
        schedule: Mapping[str, Any] | Callable[..., Any] | None = None,
        label_smoothing: float = 0.0,
        seed: int | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(optim, Mapping) and "_target_" not in optim:
            optim = {**DEFAULT_OPTIM, **optim}
        plain = {"num_classes": num_classes, "label_smoothing": label_smoothing, "seed": seed}
        plain["class_names"] = None if class_names is None else list(class_names)
        if isinstance(model, nn.Module):
            num_classes = num_classes or getattr(model, "num_classes", None)
            if num_classes is None:
                raise ValueError("num_classes is needed where model is a module.")
        else:
            model = {**model, **({} if num_classes is None else {"num_classes": num_classes})}
            num_classes = model["num_classes"]
            plain["model"] = {**model, **WEIGHT_SOURCES}
            model = create_model(**model)
        plain |= {
            name: dict(part) for name, part in (("optim", optim), ("schedule", schedule)) if isinstance(part, Mapping)
        }
        self.save_hyperparameters(plain, logger=False)
        self.model, self.optim, self.schedule = model, optim or DEFAULT_OPTIM, schedule
        self.label_smoothing, self.seed = label_smoothing, seed
        self.class_names = plain["class_names"]
        self.train_top1, self.val_top1, self.test_top1 = (Accuracy(num_classes) for _ in range(3))
        self.val_top5, self.test_top5 = (Accuracy(num_classes, top_k=5) for _ in range(2))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) -> logits (B, classes)."""
        return self.model(images)

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimizer, with weight decay where timm and the paper have it, and the schedule."""
        optimizer = self._make_optimizer()
        if self.schedule is None:
            return {"optimizer": optimizer}
        if not isinstance(self.schedule, Mapping):
            return {"optimizer": optimizer, "lr_scheduler": self.schedule(optimizer)}
        own = {"interval": "epoch", "monitor": "val/loss"}
        node = {name: value for name, value in self.schedule.items() if name not in own}
        known = {} if "epochs" in node else {"total_steps": self._total_steps()}
        scheduler = parts.build("schedule", node, optimizer, **known)
        settings = {name: self.schedule.get(name, default) for name, default in own.items()}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **settings}}

    def _make_optimizer(self) -> torch.optim.Optimizer:
        make, arguments = self.optim, {}
        if isinstance(self.optim, Mapping):
            arguments = {name: value for name, value in self.optim.items() if value is not None}
            target = arguments["_target_"]
        else:
            target = f"{getattr(make, 'func', make).__module__}.{getattr(make, 'func', make).__qualname__}"
        if target.startswith("timm.optim.") and target.endswith(("create_optimizer_v2", "create_optimizer")):
            subject: Any = self.model  # timm groups the parameters itself
        else:
            decay = arguments.get("weight_decay", getattr(make, "keywords", {}).get("weight_decay", 0.0))
            excepted = self.model.no_weight_decay() if hasattr(self.model, "no_weight_decay") else ()
            subject = param_groups_weight_decay(self.model, decay, no_weight_decay_list=excepted)
        optimizer = parts.build("optim", arguments, subject) if arguments else make(subject)
        for group in optimizer.param_groups:  # timm leaves `layer_decay` to its own schedulers
            group["lr"] *= group.pop("lr_scale", 1.0)
        return optimizer

    def _total_steps(self) -> int | float:
        return self.trainer.estimated_stepping_batches if self._trainer is not None else 1

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step the scheduler; those of timm take the index of the next epoch."""
        if isinstance(scheduler, TimmScheduler):
            scheduler.step(epoch=self.current_epoch + 1, metric=metric)
        else:
            super().lr_scheduler_step(scheduler, metric)

    def on_train_epoch_start(self) -> None:
        if self.seed is not None:
            stream = np.random.SeedSequence((self.seed, self.current_epoch, self.global_rank))
            torch.manual_seed(int(stream.generate_state(1)[0]))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Mean cross-entropy of the batch, and what the reducers add. Targets may be probabilities (B, classes)."""
        images, targets = batch
        logits = self(images)
        loss = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        if hasattr(self.model, "reducer_loss"):
            loss = loss + self.model.reducer_loss()
        self.train_top1.update(logits.detach(), targets if targets.ndim == 1 else targets.argmax(dim=1))
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        self.log("train/top1", self.train_top1, on_step=False, on_epoch=True)
        self.log("train/step_loss", loss.detach(), on_step=True, on_epoch=False, batch_size=len(images))
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Returns the logits (B, classes) for callbacks."""
        return self._evaluate(batch, "val", self.val_top1, self.val_top5)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Returns the logits (B, classes) for callbacks."""
        return self._evaluate(batch, "test", self.test_top1, self.test_top5)

    def _evaluate(self, batch: tuple[Tensor, Tensor], split: str, top1: Accuracy, top5: Accuracy) -> Tensor:
        images, targets = batch
        logits = self(images).float()
        top1.update(logits, targets)
        top5.update(logits, targets)
        loss = F.cross_entropy(logits, targets)
        self.log(f"{split}/loss", loss, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        self.log(f"{split}/top1", top1, on_step=False, on_epoch=True)
        self.log(f"{split}/top5", top5, on_step=False, on_epoch=True)
        return logits

    def predict_step(self, batch: Tensor | Sequence[Tensor], batch_idx: int) -> Tensor:
        """Probabilities (B, classes) of images (B, 3, S, S), alone or with their classes."""
        images = batch if isinstance(batch, Tensor) else batch[0]
        return self(images).float().softmax(dim=1)
