"""The loggers of a run: metrics.csv always, Weights & Biases beside it on request."""

import netrc
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import Logger, WandbLogger

from ufgir.config import axes, cell
from ufgir.errors import UfgirWarning, UserError, first_line
from ufgir.training.metrics_csv import MetricsCSV
from ufgir.training.recorder import EPOCH_COLUMNS, STEP_COLUMNS

TEST_COLUMNS = ("test_top1", "test_top5", "test_loss")
SERVER = "https://api.wandb.ai"
LATER = "`wandb sync` brings it up later"
PATIENCE = {"init_timeout": 30, "finish_timeout": 300}  # seconds without an answer, after which a run goes on alone
FACTS = ("gmacs", "params_m", "tokens")  # known before training
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
        loggers.append(make_wandb_logger(folder, run_id, config, facts))
    return loggers


def make_wandb_logger(folder: Path, run_id: str, config: Mapping[str, Any], facts: Mapping[str, Any]) -> WandbLogger:
    """The W&B run `run_id`, which a resumed run continues; `wandb agent` puts its own id and project in their place.

    Where nobody asked for W&B online in so many words, and it cannot be had, the run is logged offline.

    Raises:
        UserError: W&B cannot be reached, or does not take this key, project or entity.
    """
    mode = config["logger"]["mode"]
    try:
        return _opened(folder, run_id, config, facts, wandb_mode(mode))
    except wandb.errors.Error as error:
        why = _why_not(error)
        wandb.teardown()  # its service would take the run for one that is open
        if mode != "auto" or {"WANDB_MODE", "WANDB_SWEEP_ID"} & set(os.environ):
            raise UserError(f"logger.mode={mode}: {why} Or log with logger.mode=offline; {LATER}.") from error
        warnings.warn(f"{why} This run is logged offline; {LATER}.", UfgirWarning, stacklevel=2)
        return _opened(folder, run_id, config, facts, "offline")


def _opened(
    folder: Path, run_id: str, config: Mapping[str, Any], facts: Mapping[str, Any], mode: str
) -> WandbLogger:
    """What dashboards filter and group by lies at the top of the run's configuration, the whole of ours below `config`.

    Raises:
        wandb.errors.Error: W&B refuses it, or cannot be reached.
    """
    chosen, grid = config["logger"], os.environ.get("UFGIR_SWEEP")
    logger = WandbLogger(
        name=folder.name,
        id=run_id,
        save_dir=folder,
        project=chosen["project"],
        entity=chosen["entity"],
        group=cell(config),
        job_type="train",
        tags=[*chosen["tags"], *([grid] if grid else [])],
        mode=mode,
        settings=wandb.Settings(**{name: value for name, value in PATIENCE.items() if _is_free(name)}),
    )
    logger.log_hyperparams({"grid": grid, **axes(config), **facts, "config": config})  # which opens it
    return logger


def _is_free(setting: str) -> bool:
    """Whether no variable of the user's decides a setting of W&B."""
    return f"WANDB_{setting.upper()}" not in os.environ


def _why_not(error: Exception) -> str:
    """Why W&B cannot be used, and what to do about it."""
    text = first_line(error)
    server = os.environ.get("WANDB_BASE_URL", SERVER)
    if any(sign in text.lower() for sign in ("timed out", "dial tcp", "deadline exceeded")):
        return f"W&B at {server} cannot be reached ({text}). Check the network."
    return f"W&B at {server} does not take this run ({text}). Check the API key (`wandb login --relogin`) and entity."


def wandb_mode(mode: str) -> str:
    """`auto` is what WANDB_MODE says, else online where there is an API key, else offline."""
    if mode != "auto":
        return mode
    return os.environ.get("WANDB_MODE") or ("online" if has_api_key() else "offline")


def has_api_key() -> bool:
    """Whether this user is logged in at W&B: by WANDB_API_KEY, or by what `wandb login` left."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", SERVER).split("//")[-1].strip("/")
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


def log_pictures(loggers: Sequence[Logger], files: Sequence[Path], step: int) -> None:
    """Put pictures into the W&B run, under the name of their folder."""
    for logger in loggers:
        if files and isinstance(logger, WandbLogger):
            captions = [file.stem for file in files]
            logger.log_image(files[0].parent.name, [str(file) for file in files], step=step, caption=captions)


def log_again(folder: Path, run_id: str, config: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Under `wandb agent`, give the numbers of a run that was finished before to the W&B run that the agent opened.

    A search that never hears of them would take the run for a failure. Elsewhere nothing is to be done.
    """
    if config["logger"]["name"] != "wandb" or "WANDB_SWEEP_ID" not in os.environ:
        return
    loggers = [make_wandb_logger(folder, run_id, config, {name: results[name] for name in FACTS})]
    log_results(loggers, results, step=0)
    close_loggers(loggers, failed=False)


def close_loggers(loggers: Sequence[Logger], failed: bool) -> None:
    """End the W&B run; Lightning leaves it open, and the next job of this process would be logged into it."""
    if any(isinstance(logger, WandbLogger) for logger in loggers):
        wandb.finish(exit_code=int(failed))
