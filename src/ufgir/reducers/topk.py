"""Top-K: keep the tokens to which the class token attends most."""

import torch
from torch import Tensor

from ufgir.reducers.base import Reducer, gather_tokens


class TopK(Reducer):
    """Keeps ceil(keep_rate * n) of the n non-prefix tokens, by descending attention of CLS; the rest is dropped."""

    def forward(self, x: Tensor, cls_attention: Tensor) -> Tensor:
        kept = self.most_attended(cls_attention)  # (B, K)
        if kept is None:
            return x
        return torch.cat((x[:, : self.prefix], gather_tokens(x, kept)), dim=1)
