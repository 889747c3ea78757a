"""What a report is made of."""

from dataclasses import dataclass, field

import pandas as pd

GRADIENT_COLUMNS = ("run", "step", "grad_max", "grad_mean")


@dataclass
class Collected:
    """Runs, whatever they were read from.

    Attributes:
        runs: one row for each run, with the columns of `layout.RUN_COLUMNS` and `MORE_COLUMNS`; keep rates as text.
        skipped: a line for each input that is not in `runs`, with its name and the reason.
        gradients: largest and mean absolute gradient by step, `run` as in `runs`; empty where none were recorded.
    """

    runs: pd.DataFrame
    skipped: list[str]
    gradients: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(GRADIENT_COLUMNS)))
