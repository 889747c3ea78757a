"""DynamicViT (Rao et al., NeurIPS 2021): a predictor decides which tokens go on, and learns it by Gumbel-softmax."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ufgir.reducers.base import Reducer
from ufgir.reducers.tokens import Keep, Stage, Tokens, at_least_float32


class DyViT(Reducer):
    """Keeps the tokens with the highest predicted scores; in training it hides tokens instead of dropping them.

    In evaluation int(P0 * keep_rate^(s+1)) tokens go on (P0 patches of the image) or, with a cross-layer cache,
    int((n - 1) * keep_rate) of the n there are, at least 1. In training a 0/1 policy, drawn anew, says which tokens
    the others attend to, and the loss asks for its mean to be the keep rate.

    Args:
        stage: where it acts.
        ratio_weight: weight of that loss.
    """

    masks_tokens = True

    def __init__(self, stage: Stage, ratio_weight: float = 2.0) -> None:
        super().__init__(stage)
        if ratio_weight < 0:
            raise ValueError(f"ratio_weight={ratio_weight}: expected at least 0")
        self.ratio_weight = ratio_weight
        dim = stage.dim
        self.in_conv = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU())
        self.out_conv = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, dim // 4), nn.GELU(), nn.Linear(dim // 4, 2)
        )

    def num_kept(self, tokens: int) -> int:
        count = int((int(tokens) - 1) * self.stage.keep_rate) if self.stage.cached else self.stage.target_tokens()
        return min(tokens, max(1, count))

    def before_block(self, tokens: Tokens) -> Tokens:
        decision = torch.ones_like(tokens.x[..., 0]) if tokens.decision is None else tokens.decision  # (B, N)
        scores = self.predict(tokens.body, decision[:, tokens.prefix :])  # (B, n, 2)
        tokens = replace(tokens, decision=decision)
        if self.training:
            return self._hide(tokens, scores)
        return tokens.assign(Keep(scores[..., 0].topk(self.num_kept(scores.shape[1]), dim=1).indices))

    def predict(self, x: Tensor, weights: Tensor) -> Tensor:
        """Log-probabilities (B, n, 2) of going on and of leaving, for tokens (B, n, C) and their weights (B, n)."""
        local, shared = self.in_conv(x).chunk(2, dim=-1)  # (B, n, C / 2) each
        weights = weights.unsqueeze(-1)
        # With no token left the reference divides by 0; otherwise the sum is at least 1.
        mean = (shared * weights).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True).clamp(min=1) + 1e-6
        mean = mean.to(shared.dtype)  # a policy that was drawn is float32, and a model in half precision is not
        return self.out_conv(torch.cat((local, mean.expand_as(shared)), dim=-1)).log_softmax(dim=-1)

    def _hide(self, tokens: Tokens, scores: Tensor) -> Tokens:
        """The same tokens with a policy drawn from `scores` (B, n, 2) and the loss of its ratio."""
        drawn = F.gumbel_softmax(at_least_float32(scores), hard=True)[..., 0]  # (B, n)
        drawn = torch.cat((drawn.new_ones(drawn.shape[0], tokens.prefix), drawn), dim=1)  # (B, N)
        policy = drawn if tokens.policy is None else tokens.policy * drawn
        ratio = policy[:, tokens.prefix :].mean(dim=1)  # (B,)
        loss = (ratio - self.stage.kept_share(self.stage.index)).square().mean()
        loss = self.ratio_weight * loss / len(self.stage.keep_rates)
        # Recovered tokens keep their weight 0 for later predictors, as in evaluation, whatever is decided about them.
        return replace(tokens, policy=policy, decision=tokens.decision * drawn, losses=(*tokens.losses, loss))
