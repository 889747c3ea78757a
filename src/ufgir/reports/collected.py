"""What a report is made of."""

from dataclasses import dataclass, field

import pandas as pd

from ufgir.reports.layout import MORE_COLUMNS, RUN_COLUMNS

WHOLE = ("image_size", "seed")
TEXTS = ("dataset", "backbone", "timm_name", "reducer", "keep_rate", "plugins", "gmacs_source", "variant", "device",
         "run")  # fmt: skip
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


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of a run, no other, in their types; texts that are not known are empty, numbers missing."""
    frame = frame.reindex(columns=[*RUN_COLUMNS, *MORE_COLUMNS])
    frame[list(TEXTS)] = frame[list(TEXTS)].astype(object).fillna("").astype(str)
    numbers = [name for name in frame.columns if name not in (*TEXTS, *WHOLE)]
    return frame.astype({**dict.fromkeys(numbers, float), **dict.fromkeys(WHOLE, int)})
