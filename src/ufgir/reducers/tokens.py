"""The token sequence that flows through the blocks, and the assignments by which reducers shorten it.

An assignment stands for a matrix A (B, m, n) without forming it: the m new tokens are A x. The same A carries all that
belongs to the tokens (sizes, masks, origin), so that token maps of the original patches come for free.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """`values` in float32, or in float64 if they already are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def gather_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Tokens of `x` (B, n, C) at `index` (B, k), in that order: (B, k, C)."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


class Assignment(ABC):
    """How m new tokens are made of n old ones: a matrix A (B, m, n)."""

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """A x: from (B, n, W) to (B, m, W), for any width W."""

    def parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """The new tokens of `x` (B, n, C) in pieces (B, k, C), which the caller concatenates."""
        return (self.apply(x),)

    def totals(self, values: Tensor) -> Tensor:
        """Unweighted sum of `values` (B, n) over the tokens behind each new one: (B, m)."""
        raise TypeError(f"{type(self).__name__} cannot carry marks of single tokens.")


@dataclass
class Keep(Assignment):
    """Some of the tokens, unchanged: those at `index` (B, m), in that order.

    `valid` (B, m) marks those that are no padding, where images keep different numbers; None: all of them.
    """

    index: Tensor
    valid: Tensor | None = None

    def apply(self, x: Tensor) -> Tensor:
        return gather_tokens(x, self.index)

    def totals(self, values: Tensor) -> Tensor:
        return values.gather(1, self.index)


@dataclass
class KeepAndFuse(Assignment):
    """Some of the tokens, unchanged, at `index` (B, k), followed by sums of all with `weights` (B, m - k, n)."""

    index: Tensor
    weights: Tensor

    def apply(self, x: Tensor) -> Tensor:
        return torch.cat(self.parts(x), dim=1)

    def parts(self, x: Tensor) -> tuple[Tensor, ...]:
        return gather_tokens(x, self.index), self.weights.to(x.dtype) @ x


@dataclass
class Merge(Assignment):
    """Every token joins one `group` (B, n) of m `groups`; a new token is the sum of its group by `weights` (B, n)."""

    group: Tensor
    weights: Tensor
    groups: int

    def apply(self, x: Tensor) -> Tensor:
        weighted = x * self.weights.to(x.dtype).unsqueeze(-1)  # (B, n, W)
        sums = weighted.new_zeros(weighted.shape[0], self.groups, weighted.shape[2])
        return sums.scatter_add(1, self.group.unsqueeze(-1).expand_as(weighted), weighted)

    def totals(self, values: Tensor) -> Tensor:
        return values.new_zeros(values.shape[0], self.groups).scatter_add(1, self.group, values)


@dataclass
class Mix(Assignment):
    """Every new token is a sum of all old ones, or of `values` (B, n, C) in their place, by `weights` (B, m, n)."""

    weights: Tensor
    values: Tensor | None = None

    def apply(self, x: Tensor) -> Tensor:
        return self.weights.to(x.dtype) @ x

    def parts(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.apply(x if self.values is None else self.values),)


@dataclass(frozen=True)
class Stage:
    """One of a model's reduction layers, and what a reducer may keep there.

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
        """Keep rate of this stage."""
        return self.keep_rates[self.index]

    def kept_share(self, index: int) -> float:
        """Share of the patches to be left after stages 0 to `index`: keep_rate^(index + 1), 1 before the first."""
        rates = self.keep_rates[: index + 1]
        # The power, as in the reference: a product of equal rates may round to the other side of an integer.
        return rates[0] ** len(rates) if len(set(self.keep_rates)) == 1 and rates else math.prod(rates)

    def target_tokens(self, index: int | None = None) -> int:
        """Patches to be left after stage `index` (default: this one): int(P * kept_share); may be 0."""
        return int(self.patches * self.kept_share(self.index if index is None else index))


@dataclass
class Tokens:
    """Tokens and all that is aligned with them: `[CLS, registers, body, appended]`.

    Treat it as immutable: methods return new objects. What a reducer does not use stays None and costs nothing.

    Attributes:
        x: the tokens (B, N, C).
        prefix: number of CLS and register tokens in front, which no reducer counts or drops.
        appended: number of tokens at the end that the cache appended and no reducer has rearranged since.
        size: how many tokens each one stands for (B, N); None before the first merge (ToMe).
        valid: which tokens are no padding (B, N), bool; None: all (ATS).
        decision: weight of each token for the next predictor (B, N); None: 1 (DynamicViT).
        policy: which tokens the others attend to (B, N), 0 or 1 with a gradient; None: all (DynamicViT in training).
        source: weight of each original patch in each token (B, N, P); None unless requested.
        from_cache: weight in each token of what the cache appended (B, N), which `source` leaves out; None likewise.
        losses: what reducers add to the loss of this forward pass.
    """

    x: Tensor
    prefix: int
    appended: int = 0
    size: Tensor | None = None
    valid: Tensor | None = None
    decision: Tensor | None = None
    policy: Tensor | None = None
    source: Tensor | None = None
    from_cache: Tensor | None = None
    losses: tuple[Tensor, ...] = ()

    @property
    def body(self) -> Tensor:
        """What reducers work on: all tokens (B, n, C) but the prefix."""
        return self.x[:, self.prefix :]

    @property
    def token_weight(self) -> Tensor | None:
        """How much each token is present (B, N), from the mask or the policy; None: all of them are."""
        return self.valid if self.policy is None else self.policy

    def with_x(self, x: Tensor) -> "Tokens":
        """The same sequence with other features `x` (B, N, C)."""
        # By position: dataclasses.replace() takes several times as long, which counts for single images.
        return Tokens(
            x, self.prefix, self.appended, self.size, self.valid, self.decision, self.policy, self.source,
            self.from_cache, self.losses,
        )  # fmt: skip

    def assign(self, assignment: Assignment, *, spare_appended: bool = False) -> "Tokens":
        """The sequence whose body is what `assignment` makes of its n tokens; the prefix stays in front.

        With `spare_appended` the appended tokens stay at the end, unchanged; the assignment does not cover them.
        """
        spared = self.appended if spare_appended else 0
        prefix, end = self.prefix, self.x.shape[1] - spared

        def changed(values, parts):  # no annotations: torch 2.8 cannot compile `Tensor | None` in here
            if values is None:
                return None
            tail = (values[:, end:],) if spared else ()
            return torch.cat((values[:, :prefix], *parts(values[:, prefix:end]), *tail), dim=1)

        def totals(values):
            return (assignment.totals(values),)

        if isinstance(assignment, Keep) and assignment.valid is not None:
            valid = changed(self._valid(), lambda _: (assignment.valid,))
        else:
            valid = changed(self.valid, totals)
        return Tokens(
            changed(self.x, assignment.parts), prefix, spared, changed(self.size, totals), valid,
            changed(self.decision, totals), changed(self.policy, totals),
            changed(self.source, lambda source: (assignment.apply(source),)),
            changed(self.from_cache, lambda weight: (assignment.apply(weight.unsqueeze(-1)).squeeze(-1),)),
            self.losses,
        )  # fmt: skip

    def append(self, *others: "Tokens") -> "Tokens":
        """The sequence with `others` at its end: valid unless they say otherwise, of size 1, undecided, of no patch."""
        parts, valid = (self, *others), None
        added = sum(other.x.shape[1] for other in others)
        if any(part.valid is not None for part in parts):
            valid = torch.cat([part._valid() for part in parts], dim=1)

        def extended(marks, value):  # (B, N) -> (B, N + added)
            return None if marks is None else F.pad(marks, (0, added), value=value)

        return Tokens(
            torch.cat([part.x for part in parts], dim=1), self.prefix, self.appended + added, extended(self.size, 1.0),
            valid, extended(self.decision, 0.0), extended(self.policy, 1.0),
            None if self.source is None else F.pad(self.source, (0, 0, 0, added)), extended(self.from_cache, 1.0),
            self.losses,
        )  # fmt: skip

    def mean(self, end: int, *, with_cls: bool = False) -> "Tokens":
        """Mean token (B, 1, C) of those present up to `end`; registers never count."""

        def span(values: Tensor) -> Tensor:  # (B, k, ...)
            inner = values[:, self.prefix : end]
            return torch.cat((values[:, :1], inner), dim=1) if with_cls else inner

        x, weights = span(self.x), self.token_weight
        if weights is None:
            return Tokens(x.mean(dim=1, keepdim=True), 0)
        weights = span(weights).to(x.dtype).unsqueeze(-1)  # (B, k, 1)
        return Tokens((x * weights).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True).clamp(min=1), 0)

    def last(self, count: int) -> "Tokens":
        """The last `count` tokens that are no padding."""
        if self.valid is None:
            return Tokens(self.x[:, -count:], 0)
        positions = torch.arange(self.x.shape[1], device=self.x.device).where(self.valid, -1)  # (B, N)
        # Ascending, and -1 in front where fewer are left.
        positions = positions.topk(min(count, self.x.shape[1]), dim=1).values.flip(1)
        return Tokens(gather_tokens(self.x, positions.clamp(min=0)), 0, valid=positions >= 0)

    def _valid(self) -> Tensor:
        return self.x.new_ones(self.x.shape[:2], dtype=torch.bool) if self.valid is None else self.valid
