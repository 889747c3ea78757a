"""ATS, "Adaptive Token Sampling" (Fayyaz et al., ECCV 2022): rows of the attention are sampled by their weight."""

import torch
from torch import Tensor

from ufgir.reducers.base import BlockAttention, Reducer
from ufgir.reducers.tokens import Keep, Stage, Tokens, at_least_float32


class ATS(Reducer):
    """Samples at most K = max(1, int(P * keep_rate^(s+1))) + 1 tokens, CLS included, by inverse transform.

    A token's score is its attention from CLS times the norm of its value, summed over heads. Fixed points on the
    cumulative sum of the scores pick tokens; one that is picked twice goes on once, so images keep different numbers.
    """

    needs_class_token = True
    masks_tokens = True

    def set_stage(self, stage: Stage) -> None:
        super().set_stage(stage)
        self.points = sample_points(max(1, stage.target_tokens()) + 1)

    def num_kept(self, tokens: int) -> int:
        return min(tokens, len(self.points))

    def select_queries(self, tokens: Tokens, attention: BlockAttention) -> Keep:
        prefix = tokens.prefix
        row = at_least_float32(attention.cls_attention()[..., prefix:])  # (B, H, n)
        scores = (row * attention.values[:, :, prefix:].norm(dim=-1)).sum(dim=1).detach()  # (B, n)
        points = torch.tensor(self.points).to(scores.device, non_blocking=True)
        picked = sample(scores, points, None if tokens.valid is None else tokens.valid[:, prefix:])  # (B, K)
        chosen = torch.zeros_like(scores, dtype=torch.long).scatter(1, picked, 1)  # (B, n), 0 or 1
        counts, count = chosen.sum(dim=1), chosen.shape[1]
        # On CUDA to look at the counts would stop the queue, and a compiled graph needs fixed shapes.
        is_static = chosen.is_cuda or torch.compiler.is_compiling()
        length = self.num_kept(count) if is_static else int(counts.max())
        # Chosen ones first, by position: no two keys are equal, and unlike a stable sort this can be written as ONNX.
        keys = chosen * count - torch.arange(count, device=chosen.device)  # (B, n)
        index = keys.topk(length, dim=1).indices
        return Keep(index, torch.arange(length, device=chosen.device) < counts.unsqueeze(1))


def sample_points(budget: int) -> list[float]:
    """Points in (0, 1), `budget` - 1 of them or, where rounding includes the end, `budget`.

    Numbers and not a tensor, since devices and exported graphs round otherwise and would disagree about the end.
    """
    start, end = 1 / (2 * budget), (2 * budget - 1) / (2 * budget)
    return torch.arange(start, end, 1 / budget, device="cpu").tolist()  # even where a model is built without storage


def sample(scores: Tensor, points: Tensor, valid: Tensor | None) -> Tensor:
    """Tokens (B, K) picked by inverse transform sampling at the fixed `points` (K,) in (0, 1), some of them repeatedly.

    They are picked by `scores` (B, n), at least 0, and among those that are `valid` (B, n); None: all.
    """
    scores = scores if valid is None else scores * valid
    cumulative = (scores / (scores.sum(dim=1, keepdim=True) + 1e-6)).cumsum(dim=1)  # (B, n)
    distance = (cumulative.unsqueeze(1) - points[:, None]).abs()  # (B, K, n)
    if valid is not None:
        distance = distance.masked_fill(~valid.unsqueeze(1), torch.inf)
    return distance.argmin(dim=2)
