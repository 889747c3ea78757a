"""The test pass: one process, all images of the test table, once."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch

from ufgir.errors import RunFailed
from ufgir.peak import peak_memory_gb
from ufgir.runs.quiet import quiet_lightning
from ufgir.training.module import ClassifierModule


class Throughput(L.Callback):
    """Counts the images of a test pass and times those after the first batch, which is the warm-up."""

    def __init__(self) -> None:
        self.images = 0
        self._timed = 0

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = self._now()

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self.images += len(batch[1])
        if batch_idx == 0 and trainer.num_test_batches[0] > 1:
            self._start = self._now()
        else:
            self._timed += len(batch[1])

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.images_per_second = self._timed / (self._now() - self._start)

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


def run_test(
    module: ClassifierModule,
    data: L.LightningDataModule,
    trainer_config: Mapping,
    callbacks: Sequence[L.Callback] = (),
) -> dict[str, Any]:
    """Test a model on one device, so that no image counts twice.

    Args:
        module: the model to test.
        data: its `test_dataloader` gives the images.
        trainer_config: the `trainer` group of the configuration.
        callbacks: get the logits of each batch.

    Returns:
        `test_top1`, `test_top5` (percent), `test_loss`, `test_images`, `images_per_second`, `peak_memory_gb`.

    Raises:
        RunFailed: another number of images than the table has was tested.
    """
    throughput = Throughput()
    with quiet_lightning():
        trainer = L.Trainer(
            accelerator=trainer_config["accelerator"],
            devices=devices[:1] if isinstance(devices := trainer_config["devices"], list) else 1,
            precision=trainer_config["precision"],
            limit_test_batches=trainer_config["limit_test_batches"],
            callbacks=[throughput, *callbacks],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=bool(trainer_config["progress"]) and sys.stderr.isatty(),
            enable_model_summary=False,
        )
        trainer.test(module, datamodule=data, verbose=False)
    expected = len(data.source.test)
    limit = trainer_config["limit_test_batches"]
    if isinstance(limit, float) and limit == 1.0 and throughput.images != expected:
        raise RunFailed(f"{throughput.images} images were tested, the table has {expected}.")
    return {
        **module.test_summary(),
        "test_images": throughput.images,
        "images_per_second": round(throughput.images_per_second, 3),
        "peak_memory_gb": round(peak_memory_gb(trainer.strategy.root_device), 3),
    }
