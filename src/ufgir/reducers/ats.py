"""ATS, "Adaptive Token Sampling" (Fayyaz et al., ECCV 2022): rows of the attention are sampled by their weight."""

import torch
from torch import Tensor

from ufgir.reducers.base import BlockAttention, Reducer
from ufgir.reducers.tokens import Keep, Stage, Tokens, at_least_float32


class ATS(Reducer):
    """Samples at most K = max(1, int(P * keep_rate^(s+1))) + 1 tokens, CLS included, by inverse transform.

    The score of a token is its attention from CLS times the norm of its value, summed over heads. Fixed points on the
    cumulative sum of the scores pick tokens; a token that is picked twice goes on once, so images keep different
    numbers. Only the chosen rows of the attention are computed.
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
        scores = (row * attention.values[:, :, prefix:].norm(dim=-1)).sum(dim=1)  # (B, n)
        valid = None if tokens.valid is None else tokens.valid[:, prefix:]
        points = torch.tensor(self.points).to(scores.device, non_blocking=True)
        chosen = sample(scores.detach(), points, valid)
        return first_chosen(chosen, self.num_kept(scores.shape[1]))


def sample_points(budget: int) -> list[float]:
    """Points in (0, 1), `budget` - 1 of them or, where rounding includes the end, `budget`.

    Numbers and not a tensor, since devices and exported graphs round otherwise and would disagree about the end.
    """
    start, end = 1 / (2 * budget), (2 * budget - 1) / (2 * budget)
    return torch.arange(start, end, 1 / budget, device="cpu").tolist()  # even where a model is built without storage


def sample(scores: Tensor, points: Tensor, valid: Tensor | None) -> Tensor:
    """Inverse transform sampling at fixed points.

    Args:
        scores: (B, n), at least 0.
        points: (K,), in (0, 1).
        valid: tokens that may be picked (B, n); None: all.

    Returns:
        1 for each token that is picked, else 0 (B, n).
    """
    if valid is not None:
        scores = scores * valid
    cumulative = (scores / (scores.sum(dim=1, keepdim=True) + 1e-6)).cumsum(dim=1)  # (B, n)
    distance = (cumulative.unsqueeze(1) - points[:, None]).abs()  # (B, K, n)
    if valid is not None:
        distance = distance.masked_fill(~valid.unsqueeze(1), torch.inf)
    picked = distance.argmin(dim=2)  # (B, K)
    return torch.zeros_like(scores, dtype=torch.long).scatter(1, picked, 1)


def first_chosen(chosen: Tensor, budget: int) -> Keep:
    """The tokens marked in `chosen` (B, n) by position, padded to the longest image or to `budget`."""
    counts = chosen.sum(dim=1)  # (B,)
    # On CUDA to look at the counts would stop the queue, and a compiled graph needs fixed shapes.
    is_static = chosen.is_cuda or torch.compiler.is_compiling()
    length = budget if is_static else int(counts.max())
    count = chosen.shape[1]
    # Chosen ones first, by position: no two keys are equal, and unlike a stable sort this can be written as ONNX.
    keys = chosen * count - torch.arange(count, device=chosen.device)  # (B, n)
    index = keys.topk(length, dim=1).indices
    return Keep(index, torch.arange(length, device=chosen.device) < counts.unsqueeze(1))
