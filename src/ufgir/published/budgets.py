"""Keep rates and the numbers of tokens that they keep, for reducers whose weights have these numbers in their shape."""

from collections.abc import Sequence
from itertools import accumulate
from operator import mul

ROUND_FIRST = sorted((number / 1000 for number in range(1, 1001)), key=lambda rate: len(f"{rate:g}"))


def budgets_of(keep_rate: float | Sequence[float], patches: int, stages: int) -> tuple[int, ...]:
    """Tokens kept after each stage: the share of the image's patches that is left, at least one."""
    rates = list(keep_rate) if isinstance(keep_rate, Sequence) else [keep_rate] * stages
    if len(set(rates)) == 1:  # as a power and not as a product, whose last digit may round the other way
        return tuple(max(1, int(patches * rates[0] ** (stage + 1))) for stage in range(stages))
    return tuple(max(1, int(patches * share)) for share in accumulate(rates, mul))


def rate_of(budgets: tuple[int, ...], patches: int) -> float | None:
    """The roundest single rate that keeps just so many tokens, or None if there is none of three digits."""
    return next((rate for rate in ROUND_FIRST if budgets_of(rate, patches, len(budgets)) == budgets), None)
