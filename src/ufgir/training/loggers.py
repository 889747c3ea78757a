"""metrics.csv, which every run writes, and a W&B logger that needs no account."""

import csv
import os
from pathlib import Path
from typing import Any

from lightning.pytorch import loggers
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from ufgir.errors import RunFailed, summarize
from ufgir.utils import atomic_write


class MetricsCSV(Logger):
    """Appends a row for each call; a metric that is new gets a column.

    Lightning's CSVLogger deletes the file of a run that is resumed; this one drops only the steps to be repeated.

    Args:
        file: the CSV file.
        resume_step: rows of an earlier attempt before this optimizer step are kept.
    """

    def __init__(self, file: Path, resume_step: int = 0) -> None:
        super().__init__()
        self.file = file
        self._begin(resume_step)

    @rank_zero_only
    def _begin(self, resume_step: int) -> None:
        rows = [row for row in self._read() if int(row["step"]) < resume_step]  # steps count from 0
        self._columns = list(dict.fromkeys(name for row in rows for name in row if row[name] != "")) or ["step"]
        self._rewrite(rows)

    def _read(self) -> list[dict[str, str]]:
        if not self.file.exists():
            return []
        with self.file.open(newline="") as stream:  # a killed process may leave part of a row at the end
            return [row for row in csv.DictReader(stream) if None not in row.values() and None not in row]

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        with atomic_write(self.file) as stream:
            writer = csv.DictWriter(stream, self._columns, restval="", extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    @property
    def name(self) -> str:
        return self.file.stem

    @property
    def version(self) -> str:
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> Path:
        return self.file

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run folder has them in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = {"step": step, **metrics}
        if new := [name for name in row if name not in self._columns]:
            self._columns += new
            self._rewrite(self._read())
        with self.file.open("a", newline="") as stream:
            csv.DictWriter(stream, self._columns, restval="", lineterminator="\n").writerow(row)


class WandbLogger(loggers.WandbLogger):
    """Lightning's, which logs offline where no API key is known.

    Args:
        mode: `online`, `offline` or `disabled`; None: WANDB_MODE, else online with an API key, else offline.
    """

    def __init__(self, *args: Any, mode: str | None = None, **kwargs: Any) -> None:
        if mode is None and "WANDB_MODE" not in os.environ:
            import wandb

            mode = "online" if wandb.api.api_key else "offline"
        super().__init__(*args, **({} if mode is None else {"mode": mode}), **kwargs)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run.

        Raises:
            RunFailed: W&B cannot be reached, or refuses the key, project or entity.
        """
        import wandb

        try:
            return super().experiment
        except wandb.errors.Error as error:
            raise RunFailed(
                f"logger=wandb: W&B cannot be used ({summarize(error)}). Check the network and `wandb login`, or use "
                "logger.wandb.mode=offline and `wandb sync` later."
            ) from error


def add_summary(logger: Logger, results: dict[str, Any]) -> None:
    """The final numbers of a run in the summary of W&B; other loggers have them as metrics."""
    if isinstance(logger, loggers.WandbLogger):
        logger.experiment.summary.update(results)


def finish_wandb(failed: bool) -> None:
    """End the W&B run of this process; Lightning leaves it open, and the next run would be logged into it."""
    import sys

    if "wandb" in sys.modules and sys.modules["wandb"].run is not None:
        sys.modules["wandb"].finish(exit_code=int(failed))
