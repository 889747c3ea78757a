"""The authors' published runs, and multiply-accumulates counted in models that are really built."""

import warnings
from functools import cache

import pandas as pd
import torch
from rich.console import Console
from rich.progress import track

import ufgir
from ufgir.config.identity import PLUGINS
from ufgir.errors import UfgirWarning, UserError
from ufgir.report.cells import cells_of, scored
from ufgir.report.collect import TOME_QUARTER, Collected, read_csv
from ufgir.sweep.grid import PUBLISHED

SOURCE = (
    "Rios et al., Cross-Layer Cache Aggregation for Token Reduction in Ultra-Fine-Grained Image Recognition, ICASSP "
    "2025, arXiv 2501.00243, https://github.com/arkel23/CLCA: seed means of the runs that the authors published. GMACs "
    "are not theirs, but recounted by ufgir, attention included."
)
CLASSES = {"cotton80": 80, "soylocal": 200, "soygene": 1110, "soyageing": 198, "soyglobal": 1938}
UNKNOWN_CLASSES = "No GMACs where the number of classes is unknown: a CSV file has it in a column num_classes."
KEY = ["backbone", "reducer", "keep_rate", "image_size", "plugins", "num_classes"]


@cache
def published() -> Collected:
    """The 4,458 runs of the authors, numbers only.

    Their GMACs are partly missing and partly without attention; the table has those that a report of it counted.
    """
    return read_csv(PUBLISHED)


def paper_cells() -> pd.DataFrame:
    """The cells of the authors' runs, see `cells_of`."""
    return cells_of(scored(published().runs, "test")[0])


def with_gmacs(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Recount the GMACs of all runs but those that were counted in the run itself.

    Returns:
        the runs with `num_classes`, `gmacs` and `gmacs_source` (`run`, `recount` or empty), and a sentence for each
        kind of run that cannot be counted.
    """
    runs = runs.assign(num_classes=runs["num_classes"].fillna(runs["dataset"].map(CLASSES).astype(float)))
    own = runs["gmacs_source"].eq("run") & runs["gmacs"].notna()
    keys = runs[KEY].apply(tuple, axis=1)
    counts = {} if own.all() else published().runs.set_index(KEY)["gmacs"].to_dict()
    countable = ~own & runs["num_classes"].notna()
    errors = {} if (own | countable).all() else dict.fromkeys([UNKNOWN_CLASSES])
    unknown = [key for key in keys[countable].unique() if key not in counts]
    for key in track(unknown, "counting GMACs", console=Console(stderr=True), transient=True, disable=not unknown):
        try:
            counts[key] = recount_gmacs(*key)
        except (UserError, ValueError, RuntimeError) as error:
            errors[f"No GMACs of {' '.join(map(str, key[:-1]))}: {error}"] = None
    gmacs = runs["gmacs"].where(own, keys.map(counts).astype(float))
    source = runs["gmacs_source"].where(own, "recount").where(gmacs.notna(), "")
    return runs.assign(gmacs=gmacs, gmacs_source=source), list(errors)


@cache
def recount_gmacs(
    backbone: str, reducer: str, keep_rate: str, image_size: int, plugins: str, num_classes: float
) -> float:
    """GMACs of one image, with random weights, on which the count depends for ATS alone.

    Args:
        backbone: one of our config names, or a timm name.
        keep_rate: as text. ToMe's 0.25 is taken as the paper has it, 0.5 at six layers.

    Raises:
        UserError: there is no such model.
    """
    if plugins not in PLUGINS:
        raise UserError(f"plugins={plugins}: expected {', '.join(PLUGINS)}.")
    head, cached = PLUGINS[plugins]
    rates, layers = [float(rate) for rate in keep_rate.split()], [3, 6, 9]
    if (reducer, rates) == ("tome", [0.25]):
        rates, layers = [0.5], TOME_QUARTER
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UfgirWarning)
        torch.manual_seed(0)  # ATS decides by its weights how many tokens it keeps
        model = ufgir.create_model(
            backbone, num_classes=int(num_classes), img_size=image_size, reducer=reducer, reduction_layers=layers,
            cache=cached, head=head, keep_rate=rates[0] if len(rates) == 1 else rates,
        )  # fmt: skip
        return ufgir.count_macs(model, image_size) / 1e9
