"""Look at a grid of runs: what it consists of and costs, and how far it is. Nothing is started.

    python -m ufgir.sweep plan sweep=NAME [KEY=VALUE ...] [--json]
    python -m ufgir.sweep status sweep=NAME [KEY=VALUE ...] [--json]

plan    runs by axis, done, running, failed and missing ones, work, time and disk
status  a bar, the rate, the time left, and the failures with their reasons
KEY=VALUE narrows the grid (dataset=cotton80) or goes to every run (trainer.max_epochs=1), as in
`python -m ufgir.train --multirun sweep=NAME KEY=VALUE ...`, which starts it. What is a mistake there is one here; data,
weights and devices that this machine lacks are told beside the rest.
"""

import json
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from ufgir.cli import DONE, run_command
from ufgir.errors import UserError
from ufgir.grids.estimate import estimate
from ufgir.grids.grid import axes_of, grid_names, jobs_told, label
from ufgir.grids.show import show_plan, show_status
from ufgir.grids.survey import PlannedRun, survey

VERBS = {"plan": show_plan, "status": show_status}


def sweep(arguments: Sequence[str]) -> int:
    """Survey the grid and show it."""
    flags = {"--json"} & set(arguments)
    words = [word for word in arguments if word not in flags]
    verb = words.pop(0) if words else ""
    names = [word.partition("=")[2] for word in words if word.startswith("sweep=")]
    if verb not in VERBS:
        raise UserError(f"{verb or 'nothing'}: expected plan or status, such as `plan sweep={grid_names()[0]}`.")
    if len(names) != 1:
        raise UserError(f"expected one sweep=NAME; there are {', '.join(grid_names())}.")
    jobs = jobs_told(words)
    runs = survey(jobs)
    if mistakes := dict.fromkeys(mistake for run in runs for mistake in run.mistakes):
        raise UserError(*mistakes)
    facts = _facts(names[0], jobs, runs)
    facts["start"] = shlex.join(["python", "-m", "ufgir.train", "--multirun", *words])
    if flags:
        print(json.dumps(facts))
    else:
        VERBS[verb](facts, runs)
    return DONE


def _facts(name: str, jobs: Sequence[Sequence[str]], runs: Sequence[PlannedRun]) -> dict[str, Any]:
    """What programs are told of a grid."""
    states = [run.state for run in runs]
    cost = estimate(runs)
    return {
        "sweep": name,
        "runs": len(runs),
        "by_axis": {axis: _counts(jobs, axis) for axis in axes_of(jobs)},
        "done": states.count("finished"),
        "running": states.count("running"),
        "failed": states.count("failed"),
        "missing": states.count("missing") + states.count("interrupted"),
        "interrupted": states.count("interrupted"),
        "gmacs": round(cost.gmacs, 1),
        "gpu_hours": round(cost.gpu_hours, 2),
        "gpu_hours_left": round(cost.gpu_hours_left, 2),
        "gpu_hours_from": cost.basis,
        "disk_gb": {keep: round(size, 3) for keep, size in cost.disk_gb.items()},
        "faults": list(dict.fromkeys(lack for run in runs for lack in run.lacks)),
    }


def _counts(jobs: Sequence[Sequence[str]], axis: str) -> dict[str, int]:
    """Number of runs with each value of an axis."""
    values = [label(job, axis) or "default" for job in jobs]
    return {value: values.count(value) for value in dict.fromkeys(values)}


if __name__ == "__main__":
    sys.exit(run_command(sweep, usage=__doc__))
