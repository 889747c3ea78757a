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

import argparse
import json
import shlex
import sys
from pathlib import Path

from ufgir.cli import DONE, run_command
from ufgir.errors import UserError, did_you_mean

VERBS = ("plan", "status", "sync")


def main(arguments: list[str]) -> int:
    """Plan the grid and show it."""
    from ufgir.config.compose import Composer
    from ufgir.sweep.grid import grid_names, jobs_of
    from ufgir.sweep.status import plan_runs, print_plan, print_status, summary
    from ufgir.sweep.sync import sync_runs

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--config-dir", "-cd", type=Path, action="append", default=[])
    flags, overrides = parser.parse_known_args(arguments)
    verb = overrides.pop(0) if overrides else ""
    if verb not in VERBS:
        raise UserError(f"{verb or 'no command'}: expected plan, status or sync.{did_you_mean(verb, VERBS)}")
    names = [override.partition("=")[2] for override in overrides if override.startswith("sweep=")]
    if len(names) != 1:
        raise UserError(f"expected one sweep=NAME, of {', '.join(grid_names())}.")
    jobs = jobs_of(overrides, flags.config_dir)
    search = tuple(f"file://{folder.absolute()}" for folder in flags.config_dir)
    runs = plan_runs(jobs, Composer(search))
    if errors := dict.fromkeys(message for run in runs for message in run.errors):
        raise UserError(*errors)
    if verb == "sync":
        print(f"{sync_runs(runs)} finished runs were sent")
        return DONE
    facts = summary(names[0], jobs, runs)
    facts["start"] = shlex.join(["python", "-m", "ufgir.train", "--multirun", *_without(arguments, verb)])
    if flags.json:
        print(json.dumps(facts))
    elif verb == "plan":
        print_plan(facts)
    else:
        print_status(facts, runs)
    return DONE


def _without(arguments: list[str], verb: str) -> list[str]:
    return [argument for argument in arguments if argument not in (verb, "--json")]


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
