"""The words of the report's tables: which columns a run has, what makes a cell, and in which order things are shown."""

import json
from collections.abc import Iterable

from ufgir.grids.grid import TOME_QUARTER

# A run as the paper's authors publish theirs; a CSV given to the report has at least these but the last five.
RUN_COLUMNS = (
    "dataset", "backbone", "timm_name", "reducer", "keep_rate", "image_size", "plugins", "seed", "lr", "test_top1",
    "gmacs", "params_m", "train_minutes", "vram_gb",
)  # fmt: skip
# What our run folders know besides; empty where it is unknown.
MORE_COLUMNS = ("gmacs_source", "variant", "num_classes", "test_images", "images_per_second", "device", "run")
NEEDED = ("dataset", "backbone", "reducer", "keep_rate", "image_size", "plugins", "seed", "test_top1")
# The seeds of one cell are what a mean is taken over. `variant` is empty unless a cell has runs of several settings.
CELL = ("dataset", "backbone", "reducer", "keep_rate", "image_size", "plugins", "variant")
PLUGINS = ("base", "cla", "clc", "clca", "ifa")  # in the order of the paper's ablation
REDUCERS = ("none", "topk", "evit", "tome", "ats", "dyvit", "dpcknn", "sit", "patchmerger")
DATASETS = ("cotton80", "soyageing", "soyglobal", "soygene", "soylocal")  # the first three are those of Table I
TITLES = {
    "dataset": "data set", "keep_rate": "keep rate", "image_size": "px", "plugins": "plug-ins", "n": "seeds",
    "gmacs": "GMACs", "params_m": "M params", "test_top1": "top-1 %", "images_per_second": "images/s",
}  # fmt: skip
MISSING = "–"
TOME_025_LAYERS = json.loads(TOME_QUARTER)  # the paper's ToMe 0.25 is keep rate 0.5 at these


def ordered(values: Iterable[str], first: tuple[str, ...]) -> list[str]:
    """Distinct values: those of `first` in its order, then the others by name."""
    values = set(values)
    return [value for value in first if value in values] + sorted(values - set(first))


def rate_text(rate: float | list[float]) -> str:
    """A keep rate as text, which sorts like the number: `0.1`, `1`, or one for each layer, `0.7 0.5 0.3`."""
    return " ".join(f"{float(one):g}" for one in (rate if isinstance(rate, list) else [rate]))
