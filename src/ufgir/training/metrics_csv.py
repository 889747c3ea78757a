"""metrics.csv: every logged number of a run in one table that survives a resume."""

import csv
from io import StringIO
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from ufgir.files import append_whole, written_whole


class MetricsCSV(Logger):
    """Appends a row for each call; columns that a row lacks stay empty.

    Lightning's own CSVLogger deletes the earlier file when a run resumes; this one drops only the rows of the steps
    that are about to be repeated.

    Args:
        file: the CSV file.
        columns: its columns, besides `step`, which comes first.
        resume_step: training rows of an earlier attempt up to this step are kept.
    """

    def __init__(self, file: Path, columns: tuple[str, ...], resume_step: int) -> None:
        super().__init__()
        self.file = file
        self.columns = ("step", *columns)
        self._rows: list[dict[str, Any]] = []
        self._begin(resume_step)

    @rank_zero_only
    def _begin(self, resume_step: int) -> None:
        kept = []
        if self.file.exists():
            with self.file.open(newline="") as stream:
                # A killed process may have left a part of a row at the end; it belongs to a step to be repeated.
                whole = [row for row in csv.DictReader(stream) if None not in row.values()]
            kept = [row for row in whole if int(row["step"]) <= resume_step and not row["test_loss"]]
        with written_whole(self.file) as stream:
            writer = csv.DictWriter(stream, self.columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)

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
        self._rows.append({"step": step, **metrics})

    @rank_zero_only
    def save(self) -> None:
        text = StringIO()
        csv.DictWriter(text, self.columns, lineterminator="\n").writerows(self._rows)
        append_whole(self.file, text.getvalue())
        self._rows.clear()
