"""A grid on the screen."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.progress_bar import ProgressBar

from ufgir.grids.survey import MAX_ATTEMPTS, PlannedRun
from ufgir.runs.announce import show

SHOWN = 20  # failures in a list
RECENT = timedelta(hours=6)  # from which the rate is taken


def show_plan(facts: Mapping[str, Any], runs: Sequence[PlannedRun]) -> None:
    """Runs by axis, how far they are, and what they cost."""
    axes = {
        axis: ", ".join(f"{value}: {count}" for value, count in counts.items())
        for axis, counts in facts["by_axis"].items()
    }
    disk = ", ".join(f"{size:,.1f} GB with keep={keep}" for keep, size in facts["disk_gb"].items())
    show(
        f"sweep={facts['sweep']}: {facts['runs']:,} runs",
        {
            **axes,
            "state": _states(facts),
            "work": f"{facts['gmacs'] / 1e6:,.1f} PMACs of training and testing",
            "time": f"{facts['gpu_hours']:,.1f} GPU-hours, {facts['gpu_hours_left']:,.1f} of them left "
            f"(from {facts['gpu_hours_from']})",
            "disk": disk,
        },
    )
    for fault in facts["faults"]:
        print(f"not yet possible: {fault}")
    print(f"start: {facts['start']}")


def show_status(facts: Mapping[str, Any], runs: Sequence[PlannedRun]) -> None:
    """A bar, the rate and time left, and the failures."""
    console = Console(highlight=False)
    console.print(f"\n[bold]sweep={facts['sweep']}[/bold]  {facts['done']:,} of {facts['runs']:,} runs")
    console.print(ProgressBar(total=facts["runs"], completed=facts["done"], width=min(60, console.width)))
    rate = _rate(runs)
    left = facts["runs"] - facts["done"]
    pace = f"{rate:.1f} runs an hour, {left / rate:.1f} hours left" if rate else "no run finished in the last hours"
    show("", {"state": _states(facts), "rate": pace if left else "finished"})
    for lack in dict.fromkeys(lack for run in runs if run.folder is None for lack in run.lacks):
        print(f"counted as missing: {lack}")
    failed = [run for run in runs if run.state == "failed"]
    for run in failed[:SHOWN]:
        tries = f"{run.attempts} of {MAX_ATTEMPTS} attempts"
        print(f"failed ({tries}): {' '.join(run.words)}\n    {run.reason}")
    if len(failed) > SHOWN:
        print(f"and {len(failed) - SHOWN} more")


def _states(facts: Mapping[str, Any]) -> str:
    interrupted = f" ({facts['interrupted']} of them begun)" if facts["interrupted"] else ""
    return (
        f"{facts['done']} done, {facts['running']} running, {facts['failed']} failed, "
        f"{facts['missing']} missing{interrupted}"
    )


def _rate(runs: Sequence[PlannedRun]) -> float | None:
    """Runs finished in an hour, by the times of the results of the last hours."""
    times = sorted(run.folder.results.stat().st_mtime for run in runs if run.state == "finished")
    times = [time for time in times if time >= datetime.now().timestamp() - RECENT.total_seconds()]
    return 3600 * (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else None
