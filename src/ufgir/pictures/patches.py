"""What became of each patch, read from nothing but the weights that it has in the tokens that are left."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

SLACK = 0.02  # how far a token's weights may be from their ideal sum: DPC-KNN divides by a little more


class Fate(IntEnum):
    """Of a patch, or of a token; only patches are dropped, and only tokens come from the cache."""

    DROPPED = 0  # in no token that is left
    KEPT = 1  # a token of its own
    MERGED = 2  # in a token that is a mean of patches
    FUSED = 3  # in a token that is any other sum of patches
    MIXED = 4  # spread over several tokens
    RECOVERED = 5  # a token that the cache appended


@dataclass(frozen=True)
class PatchMap:
    """The patches of one image at one place in the model.

    Attributes:
        fate: of each patch (P,), a `Fate`.
        token: in which each patch weighs most (P,); -1 for a dropped one.
        share: of each patch in what its token, or all mixed tokens together, are made of (P,), 0 to 1.
        tokens: the fate of each token (N,).
    """

    fate: np.ndarray
    token: np.ndarray
    share: np.ndarray
    tokens: np.ndarray

    def count(self, fate: Fate) -> int:
        """Number of tokens of that fate."""
        return int((self.tokens == fate).sum())


def read_patches(source: np.ndarray, from_cache: np.ndarray) -> PatchMap:
    """The fate of each patch.

    Args:
        source: weight of each patch in each token (N, P), of tokens that are present, without the prefix.
        from_cache: weight in each token of what the cache appended (N,).
    """
    tokens = _fates_of_tokens(source, from_cache)
    weight, total = source.max(axis=0, initial=0), source.sum(axis=0)
    present = total > 0
    token = np.full(len(total), -1)
    token[present] = source[:, present].argmax(axis=0) if present.any() else -1
    fate = np.full(len(total), Fate.DROPPED)
    fate[present] = tokens[token[present]]
    mass = source.sum(axis=1) + from_cache  # (N,)
    share = np.zeros_like(total)
    share[present] = weight[present] / mass[token[present]]
    is_mixed, mixed = fate == Fate.MIXED, tokens == Fate.MIXED
    share[is_mixed] = source[mixed].sum(axis=0)[is_mixed] / mass[mixed].sum()
    return PatchMap(fate, token, share, tokens)


def _fates_of_tokens(source: np.ndarray, from_cache: np.ndarray) -> np.ndarray:
    has = source > 0  # (N, P)
    count, mass = has.sum(axis=1), source.sum(axis=1) + from_cache
    is_mean = np.abs(mass - 1) < SLACK
    kept = (count == 1) & is_mean & (from_cache < SLACK)
    # Spread out: in several tokens, and in none alone.
    spread = (source.max(axis=0, initial=0) < (1 - SLACK) * source.sum(axis=0)) & ~has[kept].any(axis=0)
    # Where all patches that are left are in one token, an outline shows nothing, but its weights may tell something.
    is_group = is_mean & ((count > 0).sum() > 1)
    fates = np.where(is_group, Fate.MERGED, Fate.FUSED)
    fates[(has & spread).any(axis=1)] = Fate.MIXED
    fates[kept] = Fate.KEPT
    fates[count == 0] = Fate.RECOVERED
    return fates
