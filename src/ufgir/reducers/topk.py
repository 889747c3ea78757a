"""Top-K: keep the tokens to which the class token attends most."""

import torch
from torch import Tensor

from ufgir.reducers.base import Reducer, gather_tokens, most_attended


class TopK(Reducer):
    """Keeps ceil(keep_rate * n) of the n non-prefix tokens, by descending attention of CLS; the rest is dropped."""

    def forward(self, x: Tensor, cls_attention: Tensor) -> Tensor:
        present = x.shape[1] - self.prefix
        keep = self.budget(present)
        if keep >= present:
            return x
        kept = most_attended(cls_attention, self.prefix, keep)  # (B, K)
        return torch.cat((x[:, : self.prefix], gather_tokens(x, kept)), dim=1)
