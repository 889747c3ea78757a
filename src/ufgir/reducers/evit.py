"""EViT, "Not All Patches are What You Need" (Liang et al., ICLR 2022): Top-K and one token fused from the rest."""

import torch

from ufgir.reducers.base import BlockAttention, cls_scores
from ufgir.reducers.tokens import KeepAndFuse, Tokens
from ufgir.reducers.topk import TopK


class EViT(TopK):
    """Keeps ceil(keep_rate * n) of the n tokens and appends ONE token fused from the dropped ones.

    The fused token is the sum of the dropped tokens, each times its attention from CLS. The weights are not
    normalised, as in the reference. When the budget keeps everything there is no fused token.
    """

    def num_kept(self, tokens: int) -> int:
        return min(tokens, super().num_kept(tokens) + 1)

    def after_attention(self, tokens: Tokens, attention: BlockAttention) -> Tokens:
        scores = cls_scores(tokens, attention)  # (B, n)
        count = TopK.num_kept(self, scores.shape[1])
        if count == scores.shape[1]:
            return tokens
        kept = torch.topk(scores, count, dim=1).indices
        # Zero weight for what is kept: one product then fuses the dropped tokens without gathering them.
        return tokens.assign(KeepAndFuse(kept, scores.scatter(1, kept, 0.0).unsqueeze(1)))
