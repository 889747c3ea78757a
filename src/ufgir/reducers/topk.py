"""Top-K: keep the tokens to which the class token attends most."""

from torch import Tensor

from ufgir.reducers.base import BlockAttention, Reducer, relative_budget
from ufgir.reducers.tokens import Assignment, Keep, Tokens


class TopK(Reducer):
    """Keeps ceil(keep_rate * n) of the n tokens, by descending attention of CLS; the rest is dropped."""

    needs_class_token = True

    def num_kept(self, tokens: int) -> int:
        return relative_budget(tokens, self.stage.keep_rate)

    def after_attention(self, tokens: Tokens, attention: BlockAttention) -> Tokens:
        scores = attention.cls_attention().mean(dim=1)[:, tokens.prefix :]  # (B, n)
        count = relative_budget(scores.shape[1], self.stage.keep_rate)
        if count == scores.shape[1]:
            return tokens
        return tokens.assign(self.assignment(scores.topk(count, dim=1).indices, scores))

    def assignment(self, kept: Tensor, scores: Tensor) -> Assignment:
        """What becomes of the tokens, given the positions (B, K) of those to keep and the scores (B, n) of all."""
        return Keep(kept)
