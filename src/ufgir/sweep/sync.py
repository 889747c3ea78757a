"""Send finished runs to another logger, from their metrics.csv."""

import csv
from collections.abc import Sequence

from ufgir.errors import UserError
from ufgir.sweep.status import PlannedRun
from ufgir.training.loggers import add_summary, finish_wandb
from ufgir.training.run import build_loggers


def sync_runs(runs: Sequence[PlannedRun]) -> int:
    """Log the metrics and results of every finished run to the loggers of its configuration, such as `logger=wandb`.

    Returns:
        The number of runs.

    Raises:
        UserError: no logger is named.
    """
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
