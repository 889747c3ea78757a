"""What a token reducer is: one module per reduction layer that turns N tokens into fewer."""

import math

import torch
from torch import Tensor, nn


class Reducer(nn.Module):
    """Reduces tokens inside one block, after the attention residual and before the MLP.

    Args:
        keep_rate: share of the non-prefix tokens that go on, in (0, 1).
        prefix: number of leading tokens (CLS and registers) that are neither counted nor dropped.
    """

    def __init__(self, keep_rate: float, prefix: int) -> None:
        super().__init__()
        self.keep_rate = keep_rate
        self.prefix = prefix

    def forward(self, x: Tensor, cls_attention: Tensor) -> Tensor:
        """Shorten the sequence.

        Args:
            x: tokens (B, N, C).
            cls_attention: attention of the class token to every token, softmaxed and averaged over heads (B, N).

        Returns:
            Tokens (B, M, C) with M <= N; the prefix stays in front.
        """
        raise NotImplementedError

    def budget(self, tokens: int) -> int:
        """How many of `tokens` non-prefix tokens are kept: ceil(keep_rate * tokens), at least 1."""
        return max(1, math.ceil(self.keep_rate * tokens))

    def most_attended(self, cls_attention: Tensor) -> Tensor | None:
        """Positions (B, K) of the kept tokens, by descending `cls_attention` (B, N); None if the budget keeps all."""
        scores = cls_attention[:, self.prefix :]
        keep = self.budget(scores.shape[1])
        return None if keep >= scores.shape[1] else torch.topk(scores, keep, dim=1).indices + self.prefix

    def extra_repr(self) -> str:
        return f"keep_rate={self.keep_rate}, prefix={self.prefix}"


def gather_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Tokens of `x` (B, N, C) at `index` (B, K), in that order: (B, K, C)."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
