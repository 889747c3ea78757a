"""CLC, the cross-layer cache (paper, section 3.2): tokens of earlier blocks come back after each reduction."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ufgir.errors import did_you_mean
from ufgir.reducers.tokens import Tokens

CACHE_DEFAULTS = {"num_clr": 1, "gap": True, "recover_at_last": True, "pool_cls": False, "pool_clr": False}


def cache_options(cache: bool | Mapping | None) -> dict | None:
    """All options of the cross-layer cache, or None when it is off.

    Raises:
        ValueError: an unknown option.
    """
    if cache is False or cache is None:
        return None
    given = {} if cache is True else dict(cache)
    if unknown := [option for option in given if option not in CACHE_DEFAULTS]:
        hint = did_you_mean(unknown[0], CACHE_DEFAULTS)
        raise ValueError(f"cache: unknown option {', '.join(unknown)}; it has {', '.join(CACHE_DEFAULTS)}.{hint}")
    return {**CACHE_DEFAULTS, **given}


@dataclass
class CacheState:
    """What one forward pass remembers."""

    pooled: int  # length of the leading part of the sequence that the next means are taken over
    entries: list[Tokens] = field(default_factory=list)  # (B, 1 or num_clr, C) each, block by block, mean before CLR


class CrossLayerCache(nn.Module):
    """Appends CLR tokens to the sequence, caches a summary of each block and returns it at the recovery layers.

    Args:
        cls_token: the backbone's class token (1, 1, C); the CLR tokens start as copies of it.
        recovery_layers: 0-indexed blocks after which the cache is emptied into the sequence.
        embed_position: whether the CLR tokens get rows of a position embedding (as CLS does in this backbone).
        num_clr: number of CLR tokens.
        gap: cache the mean token of each block.
        pool_cls: count the class token into that mean.
        pool_clr: count the CLR tokens into that mean.

    Raises:
        ValueError: `num_clr` is 0 and `gap` is off, so there would be nothing to cache.
    """

    def __init__(
        self,
        cls_token: Tensor,
        recovery_layers: Collection[int],
        embed_position: bool,
        *,
        num_clr: int = 1,
        gap: bool = True,
        pool_cls: bool = False,
        pool_clr: bool = False,
    ) -> None:
        super().__init__()
        if num_clr < 0 or (num_clr == 0 and not gap):
            raise ValueError(f"cache: num_clr={num_clr} with gap={gap}; num_clr is at least 1, or 0 while gap is on.")
        self.recovery_layers = tuple(sorted(recovery_layers))
        self.num_clr, self.gap, self.pool_cls, self.pool_clr = num_clr, gap, pool_cls, pool_clr
        self.clr = nn.Parameter(cls_token.detach().repeat(1, num_clr, 1)) if num_clr else None
        position = torch.randn_like(self.clr) * 0.02 if num_clr and embed_position else None
        self.pos_embed = None if position is None else nn.Parameter(position)

    def begin(self, tokens: Tokens) -> tuple[Tokens, CacheState]:
        """Append the CLR tokens to the embedded tokens (B, N, C): (B, N + num_clr, C), and an empty cache."""
        patches_end = tokens.x.shape[1]
        if self.clr is not None:
            clr = self.clr if self.pos_embed is None else self.clr + self.pos_embed
            tokens = tokens.append(Tokens(clr.expand(tokens.x.shape[0], -1, -1), 0))
        return tokens, CacheState(pooled=tokens.x.shape[1] if self.pool_clr else patches_end)

    def after_block(self, layer: int, tokens: Tokens, state: CacheState) -> Tokens:
        """Return the cached tokens to the sequence if `layer` is a recovery layer, then cache a summary of it."""
        if layer in self.recovery_layers and state.entries:
            state.pooled = tokens.x.shape[1]
            tokens = tokens.append(*state.entries)
            state.entries.clear()
        if layer < self.recovery_layers[-1]:
            if self.gap:
                state.entries.append(tokens.mean(state.pooled, with_cls=self.pool_cls))
            if self.num_clr:
                # After a recovery the last tokens are the newest cached copies: from here on they are the CLR.
                state.entries.append(tokens.last(self.num_clr))
        return tokens
