"""What a token reducer is: one module for each reduction layer that turns a sequence into a shorter one."""

import math
from typing import Protocol

from torch import Tensor, nn

from ufgir.tokens import Keep, Stage, Tokens


class BlockAttention(Protocol):
    """What a reducer may ask of the self-attention of its block.

    Attributes:
        keys: (B, H, N, D).
        values: (B, H, N, D).
    """

    keys: Tensor
    values: Tensor

    def class_row(self) -> Tensor:
        """Attention of the class token to every token, softmaxed for each head (B, H, N)."""


class Reducer(nn.Module):
    """Shortens the sequence at one layer. A reducer overrides `keeps` and one of the three places to act.

    Args:
        stage: where it acts: rates, patches and width.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage

    def keeps(self, tokens: int) -> int:
        """How many tokens go on of a body of `tokens` (at most, where images keep different numbers)."""
        raise NotImplementedError

    def before_block(self, tokens: Tokens) -> Tokens:
        """Act on the tokens that enter the block."""
        return tokens

    def choose_queries(self, tokens: Tokens, attention: BlockAttention) -> Keep | None:
        """Choose the tokens whose rows of the attention are computed and go on; None: all."""
        return None

    def after_attention(self, tokens: Tokens, attention: BlockAttention) -> Tokens:
        """Act on the tokens between the attention's residual and the MLP."""
        return tokens

    def caution(self) -> str | None:
        """Why the keep rates are out of this reducer's reach, and what to do instead; None if they are not."""
        return None

    def extra_repr(self) -> str:
        return f"keep_rate={self.stage.keep_rate}"


def relative_budget(tokens: int, keep_rate: float) -> int:
    """ceil(keep_rate * tokens), at least 1."""
    return max(1, math.ceil(keep_rate * int(tokens)))  # when fvcore traces, sizes are float32 tensors in arithmetic
