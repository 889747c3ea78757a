"""Keep rates and the numbers of tokens that they keep, for reducers whose weights have these numbers in their shape."""

from collections.abc import Sequence

from ufgir.tokens import Stage

ROUND_FIRST = sorted((number / 1000 for number in range(1, 1001)), key=lambda rate: len(f"{rate:g}"))


def budgets_of(keep_rate: float | Sequence[float], patches: int, stages: int) -> tuple[int, ...]:
    """Tokens kept after each stage, at least one."""
    rates = list(keep_rate) if isinstance(keep_rate, Sequence) else [keep_rate] * stages
    return tuple(max(1, Stage(index, rates, patches, dim=0).aim()) for index in range(len(rates)))


def rate_of(budgets: tuple[int, ...], patches: int) -> float | None:
    """The roundest single rate that keeps just so many tokens, or None if there is none of three digits."""
    return next((rate for rate in ROUND_FIRST if budgets_of(rate, patches, len(budgets)) == budgets), None)
