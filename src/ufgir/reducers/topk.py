"""Top-K: keep the tokens to which the class token attends most."""

import torch
from torch import Tensor

from ufgir.reducers.base import BlockAttention, Reducer, relative_budget
from ufgir.tokens import Keep, Tokens


class TopK(Reducer):
    """Keeps ceil(keep_rate * n) of the n tokens, by descending attention of CLS; the rest is dropped."""

    def keeps(self, tokens: int) -> int:
        return relative_budget(tokens, self.stage.keep_rate)

    def after_attention(self, tokens: Tokens, attention: BlockAttention) -> Tokens:
        scores = class_attention(tokens, attention)  # (B, n)
        count = self.keeps(scores.shape[1])
        if count == scores.shape[1]:
            return tokens
        return tokens.assign(Keep(torch.topk(scores, count, dim=1).indices))


def class_attention(tokens: Tokens, attention: BlockAttention) -> Tensor:
    """Attention of CLS to the tokens of the body, mean over heads (B, n)."""
    return attention.class_row().mean(dim=1)[:, tokens.prefix :]
