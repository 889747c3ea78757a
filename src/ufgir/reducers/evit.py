"""EViT, "Not All Patches are What You Need" (Liang et al., ICLR 2022): Top-K and one token fused from the rest."""

from torch import Tensor

from ufgir.reducers.tokens import Assignment, KeepAndFuse
from ufgir.reducers.topk import TopK


class EViT(TopK):
    """Keeps ceil(keep_rate * n) of the n tokens and appends ONE token fused from the dropped ones.

    The fused token is the sum of the dropped tokens, each times its attention from CLS. The weights are not
    normalised, as in the reference. When the budget keeps everything there is no fused token.
    """

    def num_kept(self, tokens: int) -> int:
        return min(tokens, super().num_kept(tokens) + 1)

    def assignment(self, kept: Tensor, scores: Tensor) -> Assignment:
        # Zero weight for what is kept: one product then fuses the dropped tokens without gathering them.
        return KeepAndFuse(kept, scores.scatter(1, kept, 0.0).unsqueeze(1))
