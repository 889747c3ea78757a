"""EViT, "Not All Patches are What You Need" (Liang et al., ICLR 2022): Top-K and one token fused from the rest."""

import torch
from torch import Tensor

from ufgir.reducers.base import Reducer, gather_tokens


class EViT(Reducer):
    """Keeps ceil(keep_rate * n) of the n non-prefix tokens and appends ONE token fused from the dropped ones.

    The fused token is the sum of the dropped tokens, each times its attention from CLS. The weights are not
    normalised, as in the reference. When the budget keeps everything there is no fused token.
    """

    def forward(self, x: Tensor, cls_attention: Tensor) -> Tensor:
        kept = self.most_attended(cls_attention)  # (B, K)
        if kept is None:
            return x
        # Zero weight for what is kept: one product then fuses the dropped tokens without gathering them.
        weights = cls_attention.scatter(1, kept, 0.0)[:, None, self.prefix :]  # (B, 1, n)
        fused = weights.to(x.dtype) @ x[:, self.prefix :]  # (B, 1, C)
        return torch.cat((x[:, : self.prefix], gather_tokens(x, kept), fused), dim=1)
