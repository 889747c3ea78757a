"""`python -m ufgir.train KEY=VALUE ...`: train, test and measure one run, or many with --multirun."""

import os
import sys
from collections.abc import Sequence

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ufgir.cli import run_command
from ufgir.config.compose import hydra_errors, refuse_hidden_files, to_plain, without_plus
from ufgir.config.schema import RunConfig
from ufgir.errors import RunFailed, UserError, plain_warnings
from ufgir.utils import project_dir


@hydra.main(version_base="1.3", config_path=str(project_dir("conf")), config_name="train")
def train(cfg: DictConfig) -> float | None:
    """One run, started directly or by a launcher; returns the objective of a sweeper, to be maximized."""
    overrides = list(HydraConfig.get().overrides.task)
    is_one_of_many = HydraConfig.get().mode is RunMode.MULTIRUN
    try:
        with plain_warnings():  # a launcher's processes know nothing of this command
            refuse_hidden_files(HydraConfig.get())
            config = RunConfig.load(to_plain(cfg))
            pin_to_this_job(overrides)
            from ufgir.training.run import run  # torch, timm and Lightning are not needed to refuse a mistake

            return run(config, overrides)
    except (UserError, RunFailed) as error:
        if is_one_of_many:  # a launcher keeps the errors of its jobs for later
            print(f"failed: {' '.join(overrides)}\n{error}", file=sys.stderr, flush=True)
            raise
        _ERRORS.append(error)  # Hydra would print a line of its own before it


_ERRORS: list[Exception] = []  # of the run of this process; Hydra hands nothing back


def pin_to_this_job(overrides: Sequence[str]) -> None:
    """Let the further processes of a distributed run start this job alone.

    Lightning starts them with the arguments of this process, which under --multirun would start the whole sweep again.
    """
    config = HydraConfig.get()
    arguments = ["--config-name", config.job.config_name]
    for source in config.runtime.config_sources:
        if source.provider == "command-line":
            arguments += ["--config-dir", source.path]
    arguments += [override for override in config.overrides.hydra if override.startswith("hydra.searchpath=")]
    sys.argv[1:] = [*arguments, *overrides]
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None


def main(arguments: list[str]) -> None:
    """Hand the command line to Hydra, whose errors are shown in one way."""
    if "hydra/sweeper=optuna" in arguments and not any("hydra.sweeper.direction" in word for word in arguments):
        arguments = [*arguments, "hydra.sweeper.direction=maximize"]  # Optuna minimizes by default; this is an accuracy
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises its errors, so that they can be shown in one way
    sys.argv[1:] = without_plus(arguments)
    with hydra_errors():
        train()
    if _ERRORS:
        raise _ERRORS.pop()


if __name__ == "__main__":
    sys.exit(run_command(main))
