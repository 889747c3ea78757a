"""The loggers of a run: metrics.csv always, Weights & Biases beside it on request."""

import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import Logger, WandbLogger

from ufgir.training.metrics_csv import MetricsCSV
from ufgir.training.recorder import EPOCH_COLUMNS, STEP_COLUMNS

TEST_COLUMNS = ("test_top1", "test_top5", "test_loss")
SUMMARY = (*TEST_COLUMNS, "gmacs", "params_m", "images_per_second", "peak_memory_gb", "train_minutes")


def make_loggers(
    folder: Path, run_id: str, config: Mapping[str, Any], facts: Mapping[str, Any], resume_step: int
) -> list[Logger]:
    """metrics.csv in `folder` and, with `logger=wandb`, the W&B run `run_id`, which a resumed run continues.

    Args:
        folder: the run's folder, whose name the W&B run bears.
        run_id: the run's hash.
        config: the resolved configuration, which W&B shows beside the curves.
        facts: cost and token counts, shown there too.
        resume_step: the optimiser step from which training goes on; 0 at the start.
    """
    columns = EPOCH_COLUMNS + STEP_COLUMNS + TEST_COLUMNS
    loggers: list[Logger] = [MetricsCSV(folder / "metrics.csv", columns, resume_step)]
    if config["logger"]["name"] == "wandb":
        chosen = config["logger"]
        logger = WandbLogger(
            name=folder.name,
            id=run_id,
            save_dir=folder,
            project=chosen["project"],
            entity=chosen["entity"],
            tags=list(chosen["tags"]),
            mode=wandb_mode(chosen["mode"]),
        )
        logger.log_hyperparams({**config, **facts})
        loggers.append(logger)
    return loggers


def wandb_mode(mode: str) -> str:
    """`auto` is what WANDB_MODE says, else online where there is an API key, else offline."""
    if mode != "auto":
        return mode
    return os.environ.get("WANDB_MODE") or ("online" if _has_api_key() else "offline")


def _has_api_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].strip("/")
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


def log_results(loggers: Sequence[Logger], results: Mapping[str, Any], step: int) -> None:
    """Put a finished run's test numbers into the table and its figures into the W&B summary."""
    for logger in loggers:
        logger.log_metrics({name: results[name] for name in TEST_COLUMNS}, step)
        logger.save()
        if isinstance(logger, WandbLogger):
            logger.experiment.summary.update({name: results[name] for name in SUMMARY})


def close_loggers(loggers: Sequence[Logger], failed: bool) -> None:
    """End the W&B run; Lightning leaves it open, and the next job of this process would be logged into it."""
    if any(isinstance(logger, WandbLogger) for logger in loggers):
        wandb.finish(exit_code=int(failed))
