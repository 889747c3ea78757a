"""The options of a model in one form, whatever form they were given in."""

import inspect
from collections.abc import Mapping, Sequence

from ufgir.plugins import HEADS
from ufgir.reducers import find_reducer

CACHE_DEFAULTS = {"num_clr": 1, "gap": True, "recover_at_last": True, "pool_cls": False, "pool_clr": False}


def stage_keep_rates(keep_rate: float | Sequence[float], stages: int) -> tuple[float, ...]:
    """One keep rate for each of `stages` reduction layers.

    Raises:
        ValueError: a rate outside (0, 1], or a list of another length.
    """
    rates = tuple(keep_rate) if isinstance(keep_rate, Sequence) else (keep_rate,) * stages
    if len(rates) != stages:
        raise ValueError(f"keep_rate={list(rates)}: give one number or {stages}, one for each reduction layer.")
    if not all(0 < rate <= 1 for rate in rates):
        raise ValueError(f"keep_rate={keep_rate}: a keep rate is greater than 0 and at most 1.")
    return tuple(float(rate) for rate in rates)


def checked_layers(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Reduction layers of a backbone with `depth` blocks.

    Raises:
        ValueError: not ascending, or no such block.
    """
    layers = tuple(int(layer) for layer in layers)
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 0 or layers[-1] >= depth:
        raise ValueError(f"reduction_layers={list(layers)}: give ascending blocks from 0 to {depth - 1}, each once.")
    return layers


def reducer_options(reducer: str | Mapping) -> dict:
    """The reducer's `name` and its own options.

    Raises:
        ValueError: an unknown reducer or option.
    """
    options = {"name": reducer} if isinstance(reducer, str) else dict(reducer)
    name = options.get("name")
    known = () if name == "none" else tuple(inspect.signature(find_reducer(name)).parameters)[1:]
    if unknown := sorted(set(options) - {"name", *known}):
        raise ValueError(f"reducer={name}: unknown options {unknown}; it has {', '.join(known) or 'none'}.")
    return options


def cache_options(cache: bool | Mapping) -> dict | None:
    """All options of the cross-layer cache, or None when it is off.

    Raises:
        ValueError: an unknown option.
    """
    if cache is False or cache is None:
        return None
    given = {} if cache is True else dict(cache)
    if unknown := sorted(set(given) - set(CACHE_DEFAULTS)):
        raise ValueError(f"cache: unknown options {unknown}; there are {', '.join(CACHE_DEFAULTS)}.")
    return {**CACHE_DEFAULTS, **given}


def head_options(head: str | Mapping) -> dict:
    """The head's `name` and its further options.

    Raises:
        ValueError: an unknown head or option.
    """
    options = {"name": head} if isinstance(head, str) else dict(head)
    name = options.get("name")
    if name != "linear" and name not in HEADS:
        raise ValueError(f"head={name!r} is not one of linear, {', '.join(HEADS)}.")
    if unknown := sorted(set(options) - ({"name", "multiplier"} if name == "cla" else {"name"})):
        raise ValueError(f"head={name}: unknown options {unknown}; only cla has one, multiplier.")
    return options
