"""The sequence that flows through the blocks."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ufgir.tokens.assignment import Assignment, Keep, gather_tokens


@dataclass(frozen=True)
class Tokens:
    """Tokens and all that is aligned with them: `[CLS, registers, the rest, appended]`.

    It is not changed but replaced. What a reducer does not use stays None and costs nothing.

    Attributes:
        x: the tokens (B, N, C).
        prefix: number of CLS and register tokens in front, which no reducer counts or drops.
        appended: number of tokens at the end that the cache appended and no reducer has rearranged since.
        size: how many tokens each one stands for (B, N); None before the first merge (ToMe).
        valid: which tokens are no padding (B, N), bool; None: all (ATS).
        decision: weight of each token for the next predictor (B, N); None: 1 (DynamicViT).
        policy: which tokens the others attend to (B, N), 0 or 1 with a gradient; None: all (DynamicViT in training).
        source: weight of each original patch in each token (B, N, P); None unless asked for.
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
    def presence(self) -> Tensor | None:
        """How much each token is there (B, N); None: all of them are."""
        return self.valid if self.policy is None else self.policy

    def assign(self, assignment: Assignment, *, spare_appended: bool = False) -> "Tokens":
        """The sequence whose body is what `assignment` makes of it; the prefix stays in front.

        Args:
            assignment: from the n tokens of the body.
            spare_appended: leave the appended tokens as they are at the end; the assignment is without them.
        """
        spared = self.appended if spare_appended else 0
        end = self.x.shape[1] - spared

        def changed(values, change):  # no annotations: torch 2.8 cannot compile `Tensor | None` in here
            if values is None:
                return None
            return torch.cat((values[:, : self.prefix], change(values[:, self.prefix : end]), values[:, end:]), dim=1)

        valid = self.valid
        if isinstance(assignment, Keep) and assignment.valid is not None:
            valid = changed(self._valid(), lambda _: assignment.valid)
        elif valid is not None:
            valid = changed(valid, assignment.totals)
        return replace(
            self,
            x=changed(self.x, assignment.tokens),
            appended=spared,
            size=changed(self.size, assignment.totals),
            valid=valid,
            decision=changed(self.decision, assignment.totals),
            policy=changed(self.policy, assignment.totals),
            source=changed(self.source, assignment.apply),
            from_cache=changed(self.from_cache, lambda weight: assignment.apply(weight.unsqueeze(-1)).squeeze(-1)),
        )

    def append(self, *others: "Tokens") -> "Tokens":
        """The sequence with `others` at its end: valid unless they say otherwise, of size 1, undecided, of no patch."""
        added = sum(other.x.shape[1] for other in others)
        valid = None
        if self.valid is not None or any(other.valid is not None for other in others):
            valid = torch.cat([part._valid() for part in (self, *others)], dim=1)
        source = None if self.source is None else F.pad(self.source, (0, 0, 0, added))
        return replace(
            self,
            x=torch.cat([part.x for part in (self, *others)], dim=1),
            appended=self.appended + added,
            size=_extended(self.size, added, 1.0),
            valid=valid,
            decision=_extended(self.decision, added, 0.0),
            policy=_extended(self.policy, added, 1.0),
            source=source,
            from_cache=_extended(self.from_cache, added, 1.0),
        )

    def mean(self, end: int, *, with_cls: bool = False) -> "Tokens":
        """Mean token (B, 1, C) of those up to `end`, as far as they are there; registers never count."""

        def average(values: Tensor) -> Tensor:
            values = _span(values, self.prefix, end, with_cls)  # (B, k, W)
            if self.presence is None:
                return values.mean(dim=1, keepdim=True)
            weights = _span(self.presence, self.prefix, end, with_cls).to(values.dtype).unsqueeze(-1)  # (B, k, 1)
            return (values * weights).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True).clamp(min=1)

        return Tokens(average(self.x), 0)

    def last(self, count: int) -> "Tokens":
        """The last `count` tokens that are no padding."""
        if self.valid is None:
            return Tokens(self.x[:, -count:], 0)
        positions = torch.arange(self.x.shape[1], device=self.x.device).where(self.valid, -1)  # (B, N)
        # Ascending, and -1 in front where fewer are left.
        positions = positions.topk(min(count, self.x.shape[1]), dim=1).values.flip(1)
        index = positions.clamp(min=0)
        return Tokens(gather_tokens(self.x, index), 0, valid=positions >= 0)

    def counts(self) -> Tensor:
        """Number of valid tokens of each image (B,)."""
        return self._valid().sum(dim=1)

    def _valid(self) -> Tensor:
        return self.x.new_ones(self.x.shape[:2], dtype=torch.bool) if self.valid is None else self.valid


def _span(values: Tensor, start: int, end: int, with_first: bool) -> Tensor:
    """Positions from `start` to `end` of `values` (B, N, ...), and before them the first one if asked for."""
    span = values[:, start:end]
    return torch.cat((values[:, :1], span), dim=1) if with_first else span


def _extended(marks: Tensor | None, count: int, value: float) -> Tensor | None:
    """`marks` (B, N) with `count` more of the same `value`."""
    return None if marks is None else torch.cat((marks, marks.new_full((marks.shape[0], count), value)), dim=1)
