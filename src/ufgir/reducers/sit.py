"""SiT, "Self-slimmed Vision Transformer" (Zong et al., ECCV 2022): tokens are mixed by learned weights."""

import torch
from torch import nn

from ufgir.reducers.base import Reducer
from ufgir.reducers.tokens import Mix, Stage, Tokens


class SiT(Reducer):
    """Mixes all tokens into K_s = int(P * keep_rate^(s+1)), at least 1: softmax over tokens of scale * MLP(x)."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        dim, outputs = stage.dim, self.num_kept(stage.patches)
        self.weight = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, outputs)
        )
        self.scale = nn.Parameter(torch.ones(1, 1, 1))

    def num_kept(self, tokens: int) -> int:
        return max(1, self.stage.target_tokens())

    def before_block(self, tokens: Tokens) -> Tokens:
        weights = (self.scale * self.weight(tokens.body)).softmax(dim=1)  # (B, n, K)
        return tokens.assign(Mix(weights.transpose(1, 2)))
