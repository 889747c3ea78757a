"""Callbacks of a run. Each works under any Trainer of Lightning with `LitClassifier`."""

import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch import callbacks
from omegaconf import DictConfig, OmegaConf
from torch.nn.utils import get_total_norm

from ufgir.errors import RunFailed, UserError


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's, but a training that had stopped and is resumed before its test stops again at once."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self.wait_count >= self.patience:
            trainer.should_stop = True


def largest_lr(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the last blocks; with `layer_decay` that of earlier ones is lower."""
    return max(group["lr"] for group in optimizer.param_groups)


class StepStats(L.Callback):
    """Logs `lr`, `train/grad_max` and `train/grad_mean` (absolute values over all parameters) at the log interval."""

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if (trainer.global_step + 1) % trainer.log_every_n_steps:
            return
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)  # Lightning leaves it to the fused optimizer, which comes after this
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        count = sum(gradient.numel() for gradient in gradients)
        pl_module.log("lr", largest_lr(optimizer))
        pl_module.log("train/grad_max", get_total_norm(gradients, math.inf))
        pl_module.log("train/grad_mean", get_total_norm(gradients, 1.0) / count)


class NonFiniteGuard(L.Callback):
    """Ends a training whose loss is not finite, before its weights reach a checkpoint.

    The flag stays on the device and is read at the log interval and before each checkpoint: no step waits for it.

    Raises:
        RunFailed: naming the first step with such a loss.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._first = torch.full((), -1, dtype=torch.int64, device=pl_module.device)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._step = trainer.global_step + 1

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        bad = (self._first < 0) & ~torch.isfinite(outputs["loss"].detach())
        self._first = torch.where(bad, self._step, self._first)
        if self._step % trainer.log_every_n_steps == 0:
            self._read(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict) -> None:
        self._read(trainer)

    def _read(self, trainer: L.Trainer) -> None:
        if (step := trainer.strategy.reduce(self._first, reduce_op="max").item()) >= 0:
            raise RunFailed(
                f"the loss was not finite at step {step} (epoch {trainer.current_epoch + 1}). Lower optim.lr, or use "
                "trainer.precision=32-true; metrics.csv has the gradients until then."
            )


class IgnoreSigterm(L.Callback):
    """In a job of SLURM, goes on after the SIGTERM by which SLURM announces that it is preempted.

    Lightning would end the training, and a job that ends by itself is not requeued. SLURM ends it after the grace time.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # until Lightning puts back what was there before


class KeepLogged(L.Callback):
    """Moves a checkpoint to its place once the loggers have the epoch, which Lightning logs after it saves.

    A run that was killed between the two would continue without that row.
    """

    def __init__(self, saved: Path, place: Path) -> None:
        self.saved, self.place = saved, place

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if trainer.is_global_zero:
            self.saved.unlink(missing_ok=True)  # of an attempt that was killed between the two

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero and self.saved.is_file():
            self.saved.replace(self.place)

    on_train_end = on_train_epoch_start


class EpochLine(callbacks.Timer):
    """Prints a line for each epoch. Lightning's timer keeps the seconds of training, over all attempts of a run."""

    _lr = 0.0

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self._lr = largest_lr(optimizer)  # at the end of an epoch it is that of the next one

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        metrics = trainer.callback_metrics
        shown = [("loss", "train/loss", ".4f"), ("top-1", "train/top1", ".1f"), ("val loss", "val/loss", ".4f")]
        shown += [("val top-1", "val/top1", ".1f")]
        text = "  ".join(f"{label} {metrics[name].item():{form}}" for label, name, form in shown if name in metrics)
        print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {text}  lr {self._lr:.2e}  "
            f"{self.time_elapsed():.0f} s",
            flush=True,
        )


class Throughput(L.Callback):
    """Logs `train/images_per_second` of every epoch, and measures passes over validation or test images.

    Attributes:
        images: of the last evaluation.
        images_per_second: of it, without its first batch, which is the warm-up.
    """

    def __init__(self) -> None:
        self.images, self.images_per_second = 0, math.nan

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._epoch_start, self._trained = self._now(), 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self._trained += len(batch[0]) * trainer.world_size

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.log("train/images_per_second", self._trained / (self._now() - self._epoch_start))

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = self._began = self._now()
        self.images, self._timed = 0, 0

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        batches = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
        self.images += len(batch[0])
        if batch_idx == 0 and sum(batches) > 1:
            self._start = self._now()
        else:
            self._timed += len(batch[0])

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.images_per_second = self._timed / (self._now() - self._start)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.on_test_end(trainer, pl_module)
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._epoch_start += self._now() - self._began  # validation is a part of the epoch for Lightning

    on_validation_start, on_validation_batch_end = on_test_start, on_test_batch_end

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


class KeepRateWarmup(L.Callback):
    """Lowers the keep rate from 1 to the model's own by a cosine (EViT, Liang et al. 2022, appendix).

    Args:
        start_epoch: first epoch of the decline; every token is kept before.
        epochs: epochs until the model's keep rate is reached.
    """

    def __init__(self, start_epoch: int = 0, epochs: int = 10) -> None:
        self.start_epoch, self.epochs = start_epoch, epochs
        self._rates: list[float] | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        model = pl_module.model
        self._rates = list(model.keep_rates)
        try:
            model.set_keep_rate(self._rates)
        except ValueError as error:
            raise UserError(f"callbacks: KeepRateWarmup cannot be used with this reducer: {error}") from None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        progress = min(1.0, max(0.0, (trainer.current_epoch - self.start_epoch) / self.epochs))
        kept = 0.5 * (1 + math.cos(math.pi * progress))  # 1 at the start, 0 at the end
        pl_module.model.set_keep_rate([rate + (1 - rate) * kept for rate in self._rates])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.model.set_keep_rate(self._rates)  # what is validated, saved and tested

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._rates is not None:
            pl_module.model.set_keep_rate(self._rates)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:  # `val_check_interval` validates within an epoch
            self.on_train_epoch_start(trainer, pl_module)


class OptunaPruning(L.Callback):
    """Stops a trial of `hydra/sweeper=optuna` early when the pruner gives it no chance against earlier ones.

    The trial is looked up in the study by the values that it tries. Its run ends as any other run does.

    Args:
        storage, study_name: those of the sweeper.
        run_dir: folder of the run, with its config.yaml.
        pruner: a pruner of Optuna.
        monitor: what is reported after each epoch, in the direction of the search.

    Raises:
        UserError: the study has no trial of this run.
    """

    def __init__(self, storage: str, study_name: str, run_dir: str, pruner: Any, monitor: str = "val/top1") -> None:
        self.storage, self.study_name, self.run_dir = storage, study_name, Path(run_dir)
        self.pruner, self.monitor = pruner, monitor

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        import optuna

        config = OmegaConf.load(self.run_dir / "config.yaml")

        def is_tried(name: str, value: Any) -> bool:
            found = OmegaConf.select(config, name)
            return value == (found.get("name") if isinstance(found, DictConfig) else found)

        try:
            study = optuna.load_study(self.study_name, self.storage, pruner=self.pruner)
            trials = study.get_trials(states=[optuna.trial.TrialState.RUNNING])
            # A search that was killed leaves trials behind that still run for Optuna, some of them without a value.
            mine = [t for t in trials if t.params and all(is_tried(*tried) for tried in t.params.items())]
            self._trial = optuna.trial.Trial(study, mine[-1]._trial_id)
        except (KeyError, IndexError):
            raise UserError(
                f"callbacks=optuna_pruning: the study {self.study_name} in {self.storage} has no such trial. Give "
                f"--multirun hydra/sweeper=optuna hydra.sweeper.storage={self.storage} "
                f"hydra.sweeper.study_name={self.study_name}."
            ) from None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self._trial.report(trainer.callback_metrics[self.monitor].item(), trainer.current_epoch)
        stop = trainer.is_global_zero and self._trial.should_prune()
        trainer.should_stop |= trainer.strategy.reduce_boolean_decision(stop, all=False)
