"""The parts of a run, built from its configuration: folder, data module, module and loggers."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger

from ufgir.config import RunConfig, axes, cell, parts, run_name
from ufgir.data import ImageDataModule
from ufgir.errors import UserError
from ufgir.training.checkpoint import steps_taken
from ufgir.training.loggers import MetricsCSV
from ufgir.training.module import LitClassifier
from ufgir.training.run_folder import RunFolder


def run_folder(config: RunConfig, data: L.LightningDataModule) -> RunFolder:
    """The folder of a run, named by its configuration and the contents of its tables."""
    digest = data.splits.digest if isinstance(data, ImageDataModule) else ""
    return RunFolder(Path(config.output_root).expanduser() / run_name(config, digest))


def build_data(config: RunConfig) -> L.LightningDataModule:
    """The data module of a configuration. No image is opened.

    Raises:
        UserError: its arguments or tables are wrong, or it does not say how many classes there are.
    """
    transforms = []
    for number, part in enumerate(config.augment.train):
        with parts.refused(f"augment.train.{number}"):
            transforms.append(parts.build(part))
    arguments: dict[str, Any] = dict(
        image_size=config.image_size,
        batch_size=config.batch_size,
        protocol=config.protocol,
        **({} if config.fold is None else {"fold": config.fold, "folds": config.folds}),
        seed=config.seed,
        name=config.dataset.name,
        train_transforms=transforms,
        progress=config.trainer.progress,
    )
    with parts.refused("dataset"):
        data = parts.build(config.dataset.arguments(), **arguments)
        if not isinstance(data, ImageDataModule):
            data.prepare_data()
            data.setup("fit")
        num_classes = getattr(data, "num_classes", None)
    if not isinstance(num_classes, int):
        raise UserError(f"dataset={config.dataset.name}: its data module needs the attribute num_classes, an int.")
    if config.augment.batch is not None:
        with parts.refused("augment.batch"):
            data.batch_transform = parts.build(config.augment.batch, num_classes=data.num_classes)
    return data


def model_arguments(config: RunConfig, num_classes: int, *, start: bool = False) -> dict[str, Any]:
    """The arguments of `create_model` for a configuration; with `start` also the weights that training starts from."""
    backbone, plugins = config.backbone, config.plugins
    weights = {"pretrained": backbone.pretrained, "checkpoint": backbone.checkpoint} if start else {}
    return {
        "backbone": backbone.name,
        "num_classes": num_classes,
        "img_size": config.image_size,
        "backbone_kwargs": dict(backbone.kwargs),
        "reducer": {"name": config.reducer.name, **config.reducer.arguments()},
        "keep_rate": config.keep_rate,
        "reduction_layers": list(config.reduction_layers),
        "cache": False if plugins.cache is None else plugins.cache.model_dump(),
        "head": dict(plugins.head),
        **weights,
    }


def build_module(config: RunConfig, data: L.LightningDataModule) -> LitClassifier:
    """The module of a configuration, its model started from the seed or from pretrained weights."""
    module = LitClassifier(
        model_arguments(config, data.num_classes, start=True),
        optim=config.optim,
        schedule=config.schedule,
        label_smoothing=config.augment.label_smoothing,
        seed=config.seed,
        class_names=getattr(data, "class_names", None) or [f"class_{n}" for n in range(data.num_classes)],
    )
    module.model.set_grad_checkpointing(config.trainer.gradient_checkpointing)
    if config.trainer.compile:
        module.model.compile()
    return module


def build_loggers(
    folder: RunFolder, config: RunConfig, measured: Mapping[str, Any], *, with_metrics_csv: bool = True
) -> list[Logger]:
    """metrics.csv, and the loggers of the configuration with what dashboards filter and group by."""
    loggers: list[Logger] = [MetricsCSV(folder.metrics, steps_taken(folder.checkpoint))] if with_metrics_csv else []
    for name, part in config.logger.items():
        with parts.refused(f"logger.{name}"):
            logger = parts.build(filled_in(part, folder, config), save_dir=str(folder.path))
        grid = os.environ.get("UFGIR_SWEEP") or None
        logger.log_hyperparams({"grid": grid, **axes(config), **measured, "config": config.model_dump(by_alias=True)})
        loggers.append(logger)
    return loggers


def filled_in(part: Mapping[str, Any], folder: RunFolder, config: RunConfig) -> dict[str, Any]:
    """A part with `{run_dir}`, `{run_name}`, `{run_id}` and `{group}` replaced by those of the run."""
    known = {"{run_dir}": str(folder.path), "{run_name}": folder.name, "{run_id}": folder.id, "{group}": cell(config)}
    text = json.dumps(part)
    for name, value in known.items():
        text = text.replace(name, json.dumps(value)[1:-1])
    return json.loads(text)
