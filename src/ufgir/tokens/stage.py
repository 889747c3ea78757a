"""Where in a model a reducer acts, and what it may keep there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One of a model's reduction layers.

    Attributes:
        index: number s of the stage, from 0.
        keep_rates: of all stages, each in (0, 1].
        patches: number P of patches of an image.
        dim: width C of the tokens.
        cached: whether the model has a cross-layer cache (CLC).
    """

    index: int
    keep_rates: Sequence[float]
    patches: int
    dim: int
    cached: bool = False

    @property
    def keep_rate(self) -> float:
        """Of this stage."""
        return self.keep_rates[self.index]

    @property
    def is_last(self) -> bool:
        return self.index == len(self.keep_rates) - 1

    def kept_share(self, index: int) -> float:
        """Share of the patches that stages 0 to `index` are to leave: keep_rate^(index + 1), 1 before the first."""
        rates = self.keep_rates[: index + 1]
        # The power, as in the reference: a product of equal rates may round to the other side of an integer.
        return rates[0] ** len(rates) if len(set(self.keep_rates)) == 1 and rates else math.prod(rates)

    def aim(self, index: int | None = None) -> int:
        """Patches that are to be left after stage `index` (this one by default): int(P * kept_share); may be 0."""
        return int(self.patches * self.kept_share(self.index if index is None else index))
