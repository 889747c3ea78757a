"""The kinds of values that settings take: what is allowed, in words and as a test."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ufgir.config.messages import listed

WRITTEN = {"yes": "true", "on": "true", "no": "false", "off": "false", "1": "true", "0": "false"}  # flags elsewhere


@dataclass(frozen=True)
class Kind:
    """One kind of value.

    Args:
        allowed: what is allowed, fit to follow "expected".
        accepts: whether a value is allowed.
        canonical: makes equal values the same, so that 1 and 1.0 are one configuration.
        words: the allowed values, where they are words.
        guess: what a refused value was probably meant to be, as it would be typed, or an empty text.
    """

    allowed: str
    accepts: Callable[[object], bool]
    canonical: Callable = lambda value: value
    words: tuple[str, ...] = ()
    guess: Callable[[object], str] = lambda value: ""


def integer(least: int, most: int | None = None) -> Kind:
    """A whole number."""
    allowed = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
    return Kind(allowed, lambda value: _is_integer(value) and least <= value and (most is None or value <= most))


def number(
    *, least: float | None = None, above: float | None = None, most: float | None = None, below: float | None = None
) -> Kind:
    """A finite number within the given limits, of which `above` and `below` do not belong to it."""
    limits = {"of at least": least, "above": above, "up to": most, "below": below}
    words = [f"{word} {limit}" for word, limit in limits.items() if limit is not None]

    def accepts(value: object) -> bool:
        return (
            _is_number(value)
            and (least is None or value >= least)
            and (above is None or value > above)
            and (most is None or value <= most)
            and (below is None or value < below)
        )

    is_share = 1 in (most, below)
    return Kind(
        f"a number {listed(words, 'and')}",
        accepts,
        canonical=float,
        guess=_share_of_percentage if is_share else lambda value: "",
    )


def one_of(*words: str) -> Kind:
    """One of a few words."""
    return Kind(listed(words), lambda value: value in words, words=words)


def or_null(kind: Kind) -> Kind:
    """As `kind`, or null."""
    return Kind(
        f"{kind.allowed}, or null",
        lambda value: value is None or kind.accepts(value),
        canonical=lambda value: None if value is None else kind.canonical(value),
        words=kind.words,
        guess=lambda value: "null" if value in ("None", "none", "") else kind.guess(value),
    )


def either(first: Kind, second: Kind) -> Kind:
    """What one of two kinds allows; `first` decides the canonical form of what both accept."""
    return Kind(
        f"{first.allowed}, or {second.allowed}",
        lambda value: first.accepts(value) or second.accepts(value),
        canonical=lambda value: (first if first.accepts(value) else second).canonical(value),
        guess=lambda value: first.guess(value) or second.guess(value),
    )


def list_of(kind: Kind, allowed: str, *, least: int = 1, most: float = math.inf) -> Kind:
    """A list of `least` to `most` items, all of one kind."""
    return Kind(
        allowed,
        lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(kind.accepts, value)),
        canonical=lambda value: [kind.canonical(item) for item in value],
        guess=lambda value: f"[{value}]" if least <= 1 and kind.accepts(value) else "",
    )


def _precision(value: object) -> str:
    """One name for each precision of Lightning, which has several for some."""
    name = str(value)
    return {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}.get(name, name)


def _is_devices(value: object) -> bool:
    indices = list_of(integer(least=0), "")
    return value in ("auto", -1) or integer(least=1).accepts(value) or indices.accepts(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return (_is_integer(value) or isinstance(value, float)) and math.isfinite(value)


def _share_of_percentage(value: object) -> str:
    """`10%`, or a number that only a percentage can be, as a share of 1."""
    is_percentage = isinstance(value, str) and value.endswith("%")
    try:
        share = float(value.rstrip("% ") if is_percentage else value) / 100
    except (TypeError, ValueError):
        return ""
    return f"{share:g}" if 0 < share <= 1 and (is_percentage or share >= 0.05) else ""


PRECISIONS = (
    "auto", "16-mixed", "bf16-mixed", "32-true", "64-true", "16-true", "bf16-true", "transformer-engine",
    "transformer-engine-float16",
)  # fmt: skip  # auto, and those of lightning.Trainer by their full names

FLAG = Kind(
    "true or false",
    lambda value: isinstance(value, bool),
    words=("true", "false"),
    guess=lambda value: WRITTEN.get(str(value).lower(), ""),
)
TEXT = Kind("a text", lambda value: isinstance(value, str) and value != "")
PATH = Kind("a path", TEXT.accepts, guess=lambda value: f"./{value}" if _is_integer(value) else "")
OFF = Kind("false, or a choice of plugins: plugins=clc or plugins=clca", lambda value: value is False)
MAPPING = Kind("settings by name, {NAME: VALUE}", lambda value: isinstance(value, dict))
PRECISION = Kind(listed(PRECISIONS), lambda value: _precision(value) in PRECISIONS, _precision, PRECISIONS)
DEVICES = Kind("a number of devices, a list of their indices, -1 for all, or auto", _is_devices)
