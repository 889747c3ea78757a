"""`python -m ufgir.train KEY=VALUE ...`: train, test and cost one run, or several with --multirun."""

import sys
from collections.abc import Sequence

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ufgir.cli import DONE, FAILED, run_command, told_in_a_line
from ufgir.errors import RunFailed, UserError
from ufgir.grids.grid import jobs_told
from ufgir.grids.launch import OUTCOMES, refuse_faulty
from ufgir.grids.survey import survey
from ufgir.resources import conf_dir, search_path
from ufgir.runs.lease import leased_gpu
from ufgir.runs.plan import plan_run
from ufgir.runs.start import GOES_ON, start_run

MULTIRUN = ("-m", "--multirun")
HYDRA_FLAGS = (
    *MULTIRUN, "-c", "--cfg", "-h", "--help", "--hydra-help", "-i", "--info", "--resolve", "-p", "--package",
    "--version", "-sc", "--shell-completion",
)  # fmt: skip


def train(words: Sequence[str]) -> int:
    """Run what the words describe; with one of Hydra's flags the command line is Hydra's."""
    if not any(word.split("=", 1)[0] in HYDRA_FLAGS for word in words):
        start_run(plan_run(words))
        return DONE
    if set(MULTIRUN) & set(words):
        refuse_faulty(survey(jobs_told([word for word in words if not word.startswith("-")])))
    return train_with_hydra()


def train_with_hydra() -> int:
    """Leave the command line to Hydra, whose sweeper and launcher may start many jobs.

    A job that fails does not stop the others; its reason is shown at once and again in the end, and the exit code is 1.
    """
    sys.argv[1:] = for_hydra(sys.argv[1:])
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(run_job)()
    for outcome in OUTCOMES:
        outcome.show()
    return FAILED if any(outcome.failed for outcome in OUTCOMES) else DONE


def run_job(_: DictConfig) -> str | None:
    """One job of a multirun, wherever the launcher runs it: None, or the reason why it failed."""
    words = list(HydraConfig.get().overrides.task)
    # From here on as if this job had been typed alone: planning composes anew, and the further processes of a
    # distributed run, which Lightning starts with this process's words, must not run the whole sweep again.
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    sys.argv[1:] = words
    try:
        plan = plan_run(words)
        with told_in_a_line(), leased_gpu(plan.config["trainer"]) as trainer:
            plan.config["trainer"].update(trainer)
            start_run(plan)
    except (UserError, RunFailed) as error:
        print(f"failed: {' '.join(words)}\n{error}", file=sys.stderr, flush=True)
        return str(error)
    return None


def for_hydra(words: Sequence[str]) -> list[str]:
    """The words with the user's own folders, and in an order that Hydra can read: it takes overrides in one piece."""
    words = sorted(words, key=lambda word: word not in MULTIRUN)
    first = next((index for index, word in enumerate(words) if "=" in word and not word.startswith("-")), len(words))
    return [*words[:first], *search_path(with_sweeps=True), *words[first:]]


if __name__ == "__main__":
    sys.exit(run_command(train, after_ctrl_c=GOES_ON))
