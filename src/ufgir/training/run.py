"""The life of a run: train or continue, evaluate, and leave the results."""

import logging
import os
import shlex
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, RichProgressBar, WeightAveraging
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from ufgir.config import RunConfig, parts
from ufgir.config.checks import check_machine
from ufgir.config.schema import VALIDATED, absolute_paths, resolved_precision, uses_cuda
from ufgir.data import ImageDataModule, write_splits
from ufgir.errors import RunFailed, UserError, exception_chain, known_cause, summarize
from ufgir.training.build import build_data, build_loggers, build_module, filled_in, run_folder
from ufgir.training.callbacks import EpochLine, IgnoreSigterm, KeepLogged, NonFiniteGuard, StepStats, Throughput
from ufgir.training.checkpoint import FORMAT, AtomicCheckpointIO, save_weights, weights_digest
from ufgir.training.facts import (
    device_name,
    measure,
    peak_memory_gb,
    print_results,
    print_start,
    reset_peak_memory,
    versions,
)
from ufgir.training.loggers import add_summary, finish_wandb
from ufgir.training.module import LitClassifier
from ufgir.training.predictions import Predictions, write_predictions
from ufgir.training.run_folder import RunFolder

OWN_TRAINER_KEYS = ("compile", "gradient_checkpointing", "progress", "limit_test_batches", "precision")
IGNORED_WARNINGS = (
    ".*does not have many workers.*",  # a cached data set on few cores is faster without workers
    ".*The number of training batches.*smaller than the logging interval.*",  # few-image data sets
    ".*Checkpoint directory .* exists and is not empty.*",  # resuming into it is the point
    ".*GPU available but not used.*",  # the user chose trainer=cpu
    ".*LeafSpec.*deprecated.*",  # torch.utils._pytree, used inside Lightning
    ".*The `srun` command is available on your system but is not used.*",  # the same program runs on a laptop
)


def run(config: RunConfig, overrides: Sequence[str] = ()) -> float:
    """Bring a run to its end: start it, continue it, or report that it is finished.

    Args:
        config: its checked configuration.
        overrides: as typed, for results.json.

    Returns:
        `test_top1` or, for `protocol=val`, `val_top1`, in percent.

    Raises:
        UserError: the machine, the data or the weights are not what the configuration says; nothing is left behind.
        RunFailed: the run broke down; its results.json has the reason.
    """
    data = build_data(config)
    folder = run_folder(config, data)
    if rank_zero_only.rank != 0:  # a further process of a distributed run
        with quiet_lightning():
            _train(folder, config, data, build_module(config, data), [])
        return 0.0
    if not folder.is_finished():
        check_machine(config)
        if isinstance(data, ImageDataModule):
            data.check_batch_size(config.batch_size)
        data.prepare_data()
        if isinstance(data, ImageDataModule):
            data.check_images()
        L.seed_everything(config.seed, verbose=False)
        module = build_module(config, data)
        new = [path for path in (folder.path, folder.path.parent) if not path.exists()]
        with folder.lock():
            if not folder.is_finished():  # another process may have finished it just now
                folder.begin_attempt()
                try:
                    with leave_reason(folder, config, overrides), quiet_lightning():
                        _run(folder, absolute_paths(config), data, module, overrides)
                except UserError:  # a part that could not be built; a mistake leaves nothing behind
                    if folder.path in new and not folder.checkpoint.is_file():
                        shutil.rmtree(folder.path, ignore_errors=True)
                        with suppress(OSError):
                            folder.path.parent.rmdir() if folder.path.parent in new else None
                    raise
    else:
        print(f"{folder.name} is already finished")
    results = folder.read_results()
    print_results(folder.name, results)
    print(f"results: {folder.results}", flush=True)
    return results[config.objective]


def _run(
    folder: RunFolder, config: RunConfig, data: L.LightningDataModule, module: LitClassifier, overrides: Sequence[str]
) -> None:
    """Train, evaluate and write everything that a finished run leaves."""
    values = config.model_dump(by_alias=True)
    folder.config.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    if isinstance(data, ImageDataModule):
        write_splits(data.splits, folder.splits)
    reset_peak_memory()
    measured = measure(module.model, config.image_size)
    print_start(folder.name, config, data, measured)
    loggers = build_loggers(folder, config, measured)
    try:
        trainer, clock = _train(folder, config, data, module, loggers)
        leave_process_group()
        callbacks = [c for c in trainer.callbacks if not isinstance(c, Checkpoint | WeightAveraging | RichProgressBar)]
        predictions, best_epoch = Predictions(), {}
        if config.protocol == "holdout":
            best = torch.load(folder.best, map_location="cpu", weights_only=True)
            module.load_state_dict(best["state_dict"])
            best_epoch = {"best_epoch": best["epoch"] + 1}
        roles = {"val": ["val"], "holdout": ["val", "test"]}.get(config.protocol, ["test"])
        evaluated = evaluate(config, data, module, roles, [*callbacks, predictions], trainer)
        if isinstance(data, ImageDataModule):
            write_predictions(folder.predictions, predictions.rows(data.splits, roles[-1]), data.class_names)
        results = {
            "status": "finished",
            "protocol": config.protocol,
            "overrides": list(overrides),
            "command": shlex.join(["python", "-m", "ufgir.train", *overrides]),
            **best_epoch,
            **evaluated,
            "num_classes": data.num_classes,
            **measured,
            "train_minutes": round(clock.time_elapsed() / 60, 3),
            "weights_sha256": weights_digest(module.model.state_dict()),
            "seed": config.seed,
            **({} if config.fold is None else {"fold": config.fold, "folds": config.folds}),
            "precision": resolved_precision(config),
            "device": device_name(config),
            "versions": versions(),
            "config": values,
        }
        for logger in loggers:
            add_summary(logger, {name: results[name] for name in results if name not in ("config", "versions")})
        if config.keep != "none":
            save_weights(folder.weights, module.model, values, module.class_names or [])
        folder.write_results(results)  # last of what must be there: now the run is finished
    except BaseException:
        finish_wandb(failed=True)
        raise
    finish_wandb(failed=False)
    if config.keep != "all":
        folder.checkpoint.unlink(missing_ok=True)
        if config.protocol == "holdout" and "best_checkpoint" not in config.callbacks:
            folder.best.unlink(missing_ok=True)  # its weights are those in model.pt


def _train(
    folder: RunFolder, config: RunConfig, data: L.LightningDataModule, module: LitClassifier, loggers: list[Logger]
) -> tuple[L.Trainer, EpochLine]:
    """Train to the last epoch, from the last whole epoch of an earlier attempt if there is one."""
    clock = EpochLine()
    callbacks: list[L.Callback] = [StepStats(), NonFiniteGuard(), clock, IgnoreSigterm()]
    for name, part in config.callbacks.items():
        callbacks.append(parts.build(f"callbacks.{name}", filled_in(part, folder, config)))
    if config.protocol == "holdout":
        callbacks.append(
            ModelCheckpoint(folder.path, folder.best.stem, monitor="val/top1", mode="max", enable_version_counter=False)
        )
    # Saved after each epoch. Everything random starts again from (seed, epoch), so a resumed run equals another.
    saved = folder.path / "next.ckpt"
    callbacks.append(
        ModelCheckpoint(folder.path, saved.stem, save_on_train_epoch_end=True, enable_version_counter=False)
    )
    callbacks.append(KeepLogged(saved, folder.checkpoint))
    facts = {"format": FORMAT, "config": config.model_dump(by_alias=True), "class_names": module.class_names or []}
    show_bar = config.trainer.progress and sys.stdout.isatty()
    arguments = config.trainer.model_dump()
    trainer = L.Trainer(
        **{key: value for key, value in arguments.items() if key not in OWN_TRAINER_KEYS},
        precision=resolved_precision(config),
        sync_batchnorm=uses_cuda(config) and config.trainer.devices != 1,
        callbacks=[*callbacks, *([RichProgressBar()] if show_bar else [])],
        plugins=[AtomicCheckpointIO(**facts)],
        logger=loggers or False,
        **({} if config.protocol in VALIDATED else {"limit_val_batches": 0}),
        num_sanity_val_steps=0,
        enable_progress_bar=show_bar,
        enable_model_summary=False,
    )
    try:
        trainer.fit(module, datamodule=data, ckpt_path=folder.checkpoint if folder.checkpoint.is_file() else None)
    except SystemExit:  # Ctrl-C, at which Lightning ends the other processes itself
        raise
    except BaseException:
        end_other_processes(trainer)
        raise
    return trainer, clock


def evaluate(
    config: RunConfig,
    data: L.LightningDataModule,
    module: LitClassifier,
    roles: Sequence[str],
    callbacks: Sequence[L.Callback] = (),
    fitted: L.Trainer | None = None,
) -> dict[str, Any]:
    """Measure a trained module on one device, so that no image counts twice.

    Args:
        roles: of the tables to test on, one after the other: `val`, `test`.
        fitted: the trainer of the training, whose loggers get the numbers.

    Returns:
        for each role such as `test`: `test_top1`, `test_top5` (percent), `test_loss`, `test_images`; and of the last
        one `images_per_second`, `peak_memory_gb`.
    """
    results: dict[str, Any] = {}
    for role in roles:
        throughput = Throughput()
        trainer = L.Trainer(
            accelerator=config.trainer.accelerator,
            devices=devices[:1] if isinstance(devices := config.trainer.devices, list) else 1,
            precision=resolved_precision(config),
            limit_test_batches=config.trainer.limit_test_batches,
            limit_val_batches=getattr(config.trainer, "limit_val_batches", 1.0),
            callbacks=[throughput, *callbacks],
            logger=fitted.loggers if fitted else False,
            enable_checkpointing=False,
            enable_progress_bar=config.trainer.progress and sys.stdout.isatty(),
            enable_model_summary=False,
        )
        if fitted:  # metrics are logged at the end of the training, not at its start
            trainer.fit_loop.epoch_loop._batches_that_stepped = fitted.global_step
            trainer.fit_loop.epoch_progress.current.processed = fitted.current_epoch
        step = trainer.validate if role == "val" else trainer.test
        (metrics,) = step(module, datamodule=data, verbose=False)
        for name in ("top1", "top5"):
            results[f"{role}_{name}"] = round(metrics[f"{role}/{name}"], 4)
        results |= {f"{role}_loss": metrics[f"{role}/loss"], f"{role}_images": throughput.images}
        results["images_per_second"] = round(throughput.images_per_second, 3)
        results["peak_memory_gb"] = round(peak_memory_gb(trainer.strategy.root_device), 3)
        table = getattr(data.splits, role) if isinstance(data, ImageDataModule) else None
        limit = getattr(config.trainer, f"limit_{role}_batches", 1.0)
        if table is not None and limit == 1.0 and isinstance(limit, float) and throughput.images != len(table):
            raise RunFailed(f"{throughput.images} images were tested, the table has {len(table)}.")
    return results


@contextmanager
def leave_reason(folder: RunFolder, config: RunConfig, overrides: Sequence[str]) -> Iterator[None]:
    """Record in results.json why a run broke down.

    Raises:
        RunFailed: with the reason.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if any(isinstance(cause, KeyboardInterrupt) for cause in exception_chain(error)):
            raise KeyboardInterrupt from error
        reason = str(error) if isinstance(error, RunFailed) else known_cause(error)
        is_known, reason = reason is not None, reason or summarize(error)
        with suppress(OSError):
            folder.write_results(
                {
                    "status": "failed",
                    "reason": reason,
                    "attempts": folder.attempts(),
                    "overrides": list(overrides),
                    "seed": config.seed,
                    "protocol": config.protocol,
                    "config": config.model_dump(by_alias=True),
                }
            )
        if not is_known:
            file = folder.path / "traceback.txt"
            file.write_text("".join(traceback.format_exception(error)))
            reason = f"{reason}\nThe traceback is in {file}."
        raise RunFailed(reason) from error


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hide advice of Lightning and timm that does not apply to a run; errors and all other warnings pass."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "timm")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in IGNORED_WARNINGS:
            warnings.filterwarnings("ignore", message)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        except SystemExit as error:
            if error.code == 1:  # what Lightning makes of Ctrl-C; submitit ends a job that it has requeued with another
                raise KeyboardInterrupt from None
            raise
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def end_other_processes(trainer: L.Trainer) -> None:
    """End the processes that Lightning started beside this one, which failed alone and for which they would wait."""
    others = getattr(trainer.strategy.launcher, "procs", [])
    for process in (ended := others.copy()):
        others.remove(process)  # or Lightning's observer of these ends this process, too
        process.kill()
    for process in ended:
        process.wait()
    leave_process_group()


def leave_process_group() -> None:
    """End a distributed training, so that testing and the next job of this process run alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        for variable in ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(variable, None)
