"""Top-K: keep the tokens to which the class token attends most."""

import torch

from ufgir.reducers.base import BlockAttention, Reducer, cls_scores, relative_budget
from ufgir.reducers.tokens import Keep, Tokens


class TopK(Reducer):
    """Keeps ceil(keep_rate * n) of the n tokens, by descending attention of CLS; the rest is dropped."""

    needs_class_token = True

    def num_kept(self, tokens: int) -> int:
        return relative_budget(tokens, self.stage.keep_rate)

    def after_attention(self, tokens: Tokens, attention: BlockAttention) -> Tokens:
        scores = cls_scores(tokens, attention)  # (B, n)
        count = self.num_kept(scores.shape[1])
        if count == scores.shape[1]:
            return tokens
        return tokens.assign(Keep(torch.topk(scores, count, dim=1).indices))
