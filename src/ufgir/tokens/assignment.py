"""What a reducer decides: which of the n old tokens each of the m new ones comes from, and with what weight.

An assignment stands for a matrix A (B, m, n) without forming it: the new tokens are A x. The same A carries everything
else that belongs to the tokens, so that token maps of the original patches come for nothing (`Tokens.source`).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Assignment(ABC):
    """From n tokens to m: a matrix A (B, m, n)."""

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """A x: from (B, n, W) to (B, m, W), for any width W."""

    def tokens(self, x: Tensor) -> Tensor:
        """The new tokens (B, m, C) of `x` (B, n, C)."""
        return self.apply(x)

    def totals(self, values: Tensor) -> Tensor:
        """Unweighted sum, over the tokens behind each new one, of `values` (B, n): (B, m)."""
        raise TypeError(f"{type(self).__name__} cannot carry marks of single tokens.")

    def matrix(self, tokens: int) -> Tensor:
        """A itself, (B, m, n), for n = `tokens`; to look at, not to compute with."""
        return self.apply(torch.eye(tokens)[None])


@dataclass(frozen=True)
class Keep(Assignment):
    """Some of the tokens, as they are.

    Attributes:
        index: positions (B, m), in the order in which they go on.
        valid: which of them count (B, m), where images keep different numbers; None: all.
    """

    index: Tensor
    valid: Tensor | None = None

    def apply(self, x: Tensor) -> Tensor:
        return gather_tokens(x.expand(self.index.shape[0], -1, -1), self.index)

    def totals(self, values: Tensor) -> Tensor:
        return values.gather(1, self.index)


@dataclass(frozen=True)
class KeepAndFuse(Assignment):
    """Some of the tokens as they are, and behind them weighted sums.

    Attributes:
        index: positions (B, k) of the kept tokens.
        weights: of all tokens in each sum (B, m - k, n).
    """

    index: Tensor
    weights: Tensor

    def apply(self, x: Tensor) -> Tensor:
        x = x.expand(self.index.shape[0], -1, -1)
        return torch.cat((gather_tokens(x, self.index), self.weights.to(x.dtype) @ x), dim=1)


@dataclass(frozen=True)
class Merge(Assignment):
    """Every token goes into one group; a new token is the weighted sum of its group.

    Attributes:
        group: of each token (B, n), in [0, m).
        weights: of each token (B, n).
        groups: m.
    """

    group: Tensor
    weights: Tensor
    groups: int

    def apply(self, x: Tensor) -> Tensor:
        weighted = x * self.weights.to(x.dtype).unsqueeze(-1)  # (B, n, W)
        sums = weighted.new_zeros(weighted.shape[0], self.groups, weighted.shape[2])
        return sums.scatter_add(1, self.group.unsqueeze(-1).expand_as(weighted), weighted)

    def totals(self, values: Tensor) -> Tensor:
        return values.new_zeros(values.shape[0], self.groups).scatter_add(1, self.group, values)


@dataclass(frozen=True)
class Mix(Assignment):
    """Every new token is a sum over all old ones.

    Attributes:
        weights: (B, m, n).
        values: what is summed (B, n, C), if that is not the tokens themselves.
    """

    weights: Tensor
    values: Tensor | None = None

    def apply(self, x: Tensor) -> Tensor:
        return self.weights.to(x.dtype) @ x

    def tokens(self, x: Tensor) -> Tensor:
        return self.apply(x if self.values is None else self.values)


def gather_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Tokens of `x` (B, n, C) at `index` (B, k), in that order: (B, k, C)."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
