"""PatchMerger, "Learning to Merge Tokens in Vision Transformers" (Renggli et al., 2022): queries collect tokens."""

import torch
from torch import nn

from ufgir.reducers.base import Reducer
from ufgir.reducers.tokens import Mix, Stage, Tokens


class PatchMerger(Reducer):
    """K_s = int(P * keep_rate^(s+1)) learned queries, at least 1, each collect from all normalised tokens."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.norm = nn.LayerNorm(stage.dim)
        self.queries = nn.Parameter(torch.randn(self.num_kept(stage.patches), stage.dim))

    def num_kept(self, tokens: int) -> int:
        return max(1, self.stage.target_tokens())

    def before_block(self, tokens: Tokens) -> Tokens:
        normed = self.norm(tokens.body)  # (B, n, C)
        weights = (self.queries @ normed.transpose(1, 2)).softmax(dim=-1)  # (B, K, n)
        return tokens.assign(Mix(weights, normed))
