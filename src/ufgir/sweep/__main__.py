"""Look at a grid of runs. Nothing is started.

    python -m ufgir.sweep plan sweep=NAME [KEY=VALUE ...] [--config-dir DIR] [--json]
    python -m ufgir.sweep status sweep=NAME [KEY=VALUE ...] [--config-dir DIR] [--json]
    python -m ufgir.sweep sync sweep=NAME logger=wandb [KEY=VALUE ...]

plan    runs by axis, how many are done, running, failed and missing, work, time and disk
status  a bar, the rate, the time left, and the failures with their reasons
sync    send the finished runs to a logger, from their metrics.csv
KEY=VALUE narrows the grid (dataset=cotton80) or is added to every run (trainer.max_epochs=1), as in
`python -m ufgir.train --multirun sweep=NAME KEY=VALUE ...`, which starts it.
"""

import csv
import json
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ufgir.cli import DONE, run_command
from ufgir.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from ufgir.sweep.status import PlannedRun

VERBS = ("plan", "status", "sync")


def main(arguments: list[str]) -> int:
    """Plan the grid and show it."""
    from ufgir.config.compose import Composer
    from ufgir.sweep.grid import grid_names, jobs_of
    from ufgir.sweep.status import plan_runs, print_plan, print_status, summary

    composer, folders, overrides = Composer.of_arguments([word for word in arguments if word != "--json"])
    verb = overrides.pop(0) if overrides else ""
    if verb not in VERBS:
        raise UserError(f"{verb or 'no command'}: expected plan, status or sync.{did_you_mean(verb, VERBS)}")
    names = [override.partition("=")[2] for override in overrides if override.startswith("sweep=")]
    if len(names) != 1:
        raise UserError(f"expected one sweep=NAME, of {', '.join(grid_names())}.")
    jobs = jobs_of(overrides, folders)
    runs = plan_runs(jobs, composer)
    if verb == "sync":
        print(f"{sync_runs(runs)} finished runs were sent")
        return DONE
    facts = summary(names[0], jobs, runs)
    words = [argument for argument in arguments if argument not in (verb, "--json")]
    facts["start"] = shlex.join(["python", "-m", "ufgir.train", "--multirun", *words])
    if "--json" in arguments:
        print(json.dumps(facts))
    elif verb == "plan":
        print_plan(facts)
    else:
        print_status(facts, runs)
    return DONE


def sync_runs(runs: "Sequence[PlannedRun]") -> int:
    """Log the metrics and results of every finished run to the loggers of its configuration, such as `logger=wandb`.

    Returns:
        The number of runs.

    Raises:
        UserError: no logger is named.
    """
    from ufgir.training.build import build_loggers
    from ufgir.training.loggers import add_summary, finish_wandb

    finished = [run for run in runs if run.state == "finished"]
    if any(not run.config.logger for run in finished):
        raise UserError("sync: name the logger that the runs are sent to, such as logger=wandb.")
    for run in finished:
        results = run.folder.read_results()
        measured = {name: results[name] for name in ("gmacs", "params_m", "tokens")}
        loggers = build_loggers(run.folder, run.config, measured, with_metrics_csv=False)
        with run.folder.metrics.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        for logger in loggers:
            for row in rows:
                metrics = {name: float(value) for name, value in row.items() if value and name != "step"}
                logger.log_metrics(metrics, step=int(row["step"]))
            add_summary(logger, {name: value for name, value in results.items() if name not in ("config", "versions")})
            logger.finalize("success")
        finish_wandb(failed=False)
    return len(finished)


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
