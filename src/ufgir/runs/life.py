"""The life of a run: train, or go on training; test once; leave the results."""

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from ufgir.config.machine import processes, uses_cuda
from ufgir.cost import count_macs, example_image
from ufgir.data import Source
from ufgir.models import ReducedViT
from ufgir.peak import forget_peak
from ufgir.runs.announce import announce_start
from ufgir.runs.build import build_data, build_module
from ufgir.runs.folder import RunFolder
from ufgir.runs.quiet import quiet_lightning
from ufgir.runs.testing import run_test
from ufgir.runs.token_pictures import draw_tokens
from ufgir.training.checkpoint import AtomicCheckpointIO, save_weights, steps_taken, weights_digest
from ufgir.training.loggers import close_loggers, log_pictures, log_results, make_loggers
from ufgir.training.recorder import Recorder

# Not for the Trainer that fits.
OWN_TRAINER_WORDS = ("compile", "gradient_checkpointing", "progress", "limit_test_batches")


def live(folder: RunFolder, config: Mapping[str, Any], source: Source, model: ReducedViT) -> dict[str, Any]:
    """Train `model`, test it once after the last epoch and write the results; go on where an earlier attempt was cut.

    Args:
        folder: where everything goes; occupied by this process.
        config: the resolved configuration.
        source: the data set.
        model: as initialised, from the seed and the pretrained weights.

    Returns:
        What `results.json` holds; nothing in the processes of a distributed run other than the first.

    Raises:
        RunFailed: training broke down, for instance at a non-finite loss.
    """
    facts = begin(folder, config, source, model)
    module, data = build_module(config, model), build_data(config, source)
    recorder = Recorder(config["trainer"]["log_every_n_steps"])
    with logging_into(folder, config, facts) as loggers:
        steps = fit(folder, config, module, data, [recorder], loggers)
        if rank_zero_only.rank != 0:
            return {}
        leave_process_group()
        measured = {**run_test(module, data, config["trainer"]), "num_classes": source.num_classes, **facts}
        results = finished_results(config, model, measured, recorder.seconds)
        log_results(loggers, results, steps)
        if config["callbacks"]["tokens"]:
            log_pictures(loggers, draw_tokens(folder.tokens, config, source, model, facts["gmacs"]), steps)
        if config["keep"] != "none":
            save_weights(folder.weights, model, config, source.class_names)
        folder.write_results(results)  # last of what must be there: from here on the run is finished
    if config["keep"] != "all":
        folder.checkpoint.unlink(missing_ok=True)
    return results


def begin(folder: RunFolder, config: Mapping[str, Any], source: Source, model: ReducedViT) -> dict[str, Any]:
    """Measure the model, and say what the run is about to do."""
    forget_peak()
    facts = measure(model, config["image_size"])
    if rank_zero_only.rank == 0:
        announce_start(folder.name, config, source, facts)
    return facts


def finished_results(
    config: Mapping[str, Any], model: ReducedViT, measured: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """What `results.json` holds of a run that came to its end.

    Args:
        config: the resolved configuration.
        model: as trained.
        measured: figures of the test and of the model.
        seconds: spent in training, over all attempts.
    """
    return {
        "status": "finished",
        **measured,
        "train_minutes": round(seconds / 60, 3),
        "weights_sha256": weights_digest(model.state_dict()),
        "seed": config["seed"],
        "versions": versions(config["trainer"]["accelerator"]),
        "config": dict(config),
    }


def measure(model: ReducedViT, image_size: int) -> dict[str, Any]:
    """`gmacs`, `params_m` and `tokens` (after each block, one image)."""
    return {
        "gmacs": round(count_macs(model, image_size) / 1e9, 4),
        "params_m": round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 4),
        "tokens": model.tokens_after_block(example_image(image_size)),
    }


@contextmanager
def logging_into(folder: RunFolder, config: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[list[Logger]]:
    """The run's loggers, closed in the end whatever happens."""
    loggers = make_loggers(folder.path, folder.id, config, facts, steps_taken(folder.checkpoint))
    try:
        yield loggers
    except BaseException:
        close_loggers(loggers, failed=True)
        raise
    close_loggers(loggers, failed=False)


def fit(
    folder: RunFolder,
    config: Mapping[str, Any],
    module: L.LightningModule,
    data: L.LightningDataModule,
    callbacks: list[L.Callback],
    loggers: list[Logger],
) -> int:
    """Train to the last epoch, from the last whole epoch of an earlier attempt if there is one.

    Returns:
        The number of optimiser steps of the whole training.
    """
    words = config["trainer"]
    # Saved at the end of each epoch; everything random restarts from (seed, epoch), so a resumed run equals another.
    checkpoint = ModelCheckpoint(
        dirpath=folder.path, filename=folder.checkpoint.stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    with quiet_lightning():
        trainer = L.Trainer(
            **{
                # As one process would have it; gloo, which joins processes on CPUs, offers none.
                "sync_batchnorm": uses_cuda(words["accelerator"]) and processes(words) > 1,
                **{word: value for word, value in words.items() if word not in OWN_TRAINER_WORDS},
            },
            callbacks=[*callbacks, checkpoint, *([RichProgressBar()] if show_bar(words) else [])],
            plugins=[AtomicCheckpointIO()],
            logger=loggers,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # the loaders share out the images themselves
            enable_progress_bar=show_bar(words),
            enable_model_summary=False,
        )
        try:
            trainer.fit(module, datamodule=data, ckpt_path=folder.checkpoint if folder.checkpoint.is_file() else None)
        except SystemExit:  # Ctrl-C, at which Lightning ends them itself
            raise
        except BaseException:
            end_other_processes(trainer)
            raise
    return trainer.global_step


def show_bar(words: Mapping[str, Any]) -> bool:
    """A progress bar belongs on a terminal; elsewhere the line of each epoch is enough."""
    return bool(words["progress"]) and sys.stdout.isatty()


def end_other_processes(trainer: L.Trainer) -> None:
    """End what Lightning started beside this process, which failed alone.

    They would wait for it for ever or, worse, meet the processes of the next job in its group and share gradients.
    """
    others = getattr(trainer.strategy.launcher, "procs", [])
    for process in (ended := others.copy()):
        others.remove(process)  # otherwise Lightning's observer of these would end this process, too
        process.kill()
    for process in ended:
        process.wait()
    leave_process_group()


def leave_process_group() -> None:
    """End a distributed training, so that testing and the next job of this process run alone."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    torch.distributed.destroy_process_group()
    for variable in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(variable, None)


def versions(accelerator: str) -> dict[str, str]:
    """What computed the numbers."""
    packages = ("torch", "torchvision", "timm", "lightning", "torchmetrics", "fvcore")
    device = torch.cuda.get_device_name() if uses_cuda(accelerator) else platform.processor() or platform.machine()
    return {"python": platform.python_version(), **{name: version(name) for name in packages}, "device": device}
