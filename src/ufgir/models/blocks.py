"""One block of the backbone on a sequence that a reducer may shorten on the way."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ufgir.models.attention import SelfAttention
from ufgir.reducers import Reducer
from ufgir.tokens import Keep, Tokens


class Passage(NamedTuple):
    """What happened in one block.

    Attributes:
        attended: the sequence whose tokens were attended to.
        queries: number of tokens that attended.
        is_fused: whether the attention matrix was never formed.
        leaving: the sequence that left the block.
    """

    attended: Tokens
    queries: int
    is_fused: bool
    leaving: Tokens


def run_block(block: nn.Module, tokens: Tokens, reducer: Reducer | None) -> Passage:
    """timm's pre-norm block with the three places where a reducer may act.

    Args:
        block: a timm `Block`.
        tokens: the sequence that enters.
        reducer: what acts in this block, if anything.
    """
    if reducer is None and tokens.valid is None and tokens.size is None and tokens.policy is None:
        return Passage(tokens, tokens.x.shape[1], block.attn.fused_attn, replace(tokens, x=block(tokens.x)))
    if reducer is not None:
        tokens = reducer.before_block(tokens)
    attended, rows = tokens, None
    attention = SelfAttention(block.attn, block.norm1(tokens.x), tokens)
    if reducer is not None and (kept := reducer.choose_queries(tokens, attention)) is not None:
        tokens, rows = tokens.assign(kept), _rows(kept, tokens.prefix)
    out = attention.output(rows)  # (B, K, C)
    tokens = replace(tokens, x=tokens.x + block.drop_path1(block.ls1(out)))
    if reducer is not None:
        tokens = reducer.after_attention(tokens, attention)
    tokens = replace(tokens, x=tokens.x + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens.x)))))
    return Passage(attended, out.shape[1], attention.is_fused, tokens)


def _rows(kept: Keep, prefix: int) -> Tensor:
    """Positions in the whole sequence (B, prefix + m) of the prefix and of the kept tokens of its body."""
    front = torch.arange(prefix, device=kept.index.device).expand(kept.index.shape[0], -1)
    return torch.cat((front, kept.index + prefix), dim=1)
