"""`python -m ufgir.train KEY=VALUE ...`: train, test and cost one run, or several with --multirun."""

import sys
from collections.abc import Sequence

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ufgir.cli import DONE, FAILED, run_command
from ufgir.errors import RunFailed, UserError
from ufgir.resources import conf_dir
from ufgir.runs.plan import plan_run
from ufgir.runs.start import start_run


def train(overrides: Sequence[str]) -> int:
    """Run what the words describe; flags such as --multirun, --cfg and --help are Hydra's."""
    if any(word.startswith("-") for word in overrides):
        return train_with_hydra()
    start_run(plan_run(overrides))
    return DONE


def train_with_hydra() -> int:
    """Leave the command line to Hydra, whose sweeper and launcher may start many jobs.

    A job that fails does not stop the others; its reason is shown at once and the exit code is 1.
    """
    failed: list[str] = []

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")
    def job(_: DictConfig) -> None:
        overrides = list(HydraConfig.get().overrides.task)
        # Hydra keeps one composition open at a time, and planning composes anew from the words of this job.
        GlobalHydra.instance().clear()
        try:
            start_run(plan_run(overrides))
        except (UserError, RunFailed) as error:
            failed.append(" ".join(overrides))
            print(f"failed: {failed[-1]}\n{error}", file=sys.stderr)

    job()
    if failed:
        print(f"{len(failed)} failed:", *failed, sep="\n  ", file=sys.stderr)
    return FAILED if failed else DONE


if __name__ == "__main__":
    sys.exit(run_command(train))
