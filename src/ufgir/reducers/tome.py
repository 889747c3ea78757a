"""ToMe, "Token Merging: Your ViT But Faster" (Bolya et al., ICLR 2023): similar tokens are merged in pairs."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ufgir.reducers.base import BlockAttention, Reducer
from ufgir.reducers.tokens import Merge, Tokens


class ToMe(Reducer):
    """Merges K_{s-1} - K_s pairs of tokens, at most one for every two, K_s = int(P * keep_rate^(s+1)).

    Bipartite soft matching on the keys, averaged over heads: B holds the tokens at odd positions of the sequence, A
    those at even ones (CLS is in A and never merges). Each token of A proposes its most similar one of B, and the most
    similar pairs merge into a mean weighted by size. Later attention is proportional: logits + log(size).
    """

    def num_kept(self, tokens: int) -> int:
        return self._left(tokens, self.stage.index)

    def _left(self, tokens: int, index: int) -> int:
        return tokens - min(self.stage.target_tokens(index - 1) - self.stage.target_tokens(index), tokens // 2)

    def after_attention(self, tokens: Tokens, attention: BlockAttention) -> Tokens:
        keys = attention.keys.mean(dim=1)[:, tokens.prefix :]  # (B, n, D)
        merges = keys.shape[1] - self.num_kept(keys.shape[1])
        if merges == 0:
            return tokens
        if tokens.size is None:
            tokens = replace(tokens, size=torch.ones_like(tokens.x[..., 0]))
        group, groups = match_pairs(keys.detach(), merges)
        size = tokens.size[:, tokens.prefix :]  # (B, n)
        total = size.new_zeros(size.shape[0], groups).scatter_add(1, group, size)
        return tokens.assign(Merge(group, size / total.gather(1, group), groups))

    def warning(self) -> str | None:
        stage, left, wanted = self.stage, [self.stage.patches], []
        for index in range(len(stage.keep_rates)):
            left.append(self._left(left[-1], index))
            wanted.append(max(1, stage.target_tokens(index)))
        if min(stage.keep_rates) >= 0.5 or left[1:] == wanted:
            return None
        # What the cache returns joins the merging: how many that is, a reducer does not know.
        uncounted = " (without the cross-layer cache, which returns some)" if stage.cached else ""
        return (
            f"reducer=tome merges pairs, so a layer leaves at least half of the tokens: of {stage.patches} patches "
            f"{str(left[1:])[1:-1]} are left after the reduction layers{uncounted}, where the keep rate asks for "
            f"{str(wanted)[1:-1]}. Merge at more layers instead: the paper's ToMe 0.25 is keep_rate=0.5 "
            "reduction_layers=[2,3,5,6,8,9] (experiment=tome_025)."
        )


def match_pairs(keys: Tensor, merges: int) -> tuple[Tensor, int]:
    """Group of each token when the `merges` most similar pairs are merged.

    Args:
        keys: of the tokens behind the prefix (B, n, D); the first of them has an odd position in the sequence.
        merges: at most n // 2.

    Returns:
        Groups (B, n), numbered `[unmerged A by position, B by position]`, and their number.
    """
    keys = F.normalize(keys, dim=-1)
    in_b, in_a = keys[:, ::2], keys[:, 1::2]
    similarity, partner = (in_a @ in_b.transpose(1, 2)).max(dim=-1)  # (B, n // 2) each
    best = similarity.argsort(dim=1, descending=True)
    merged = torch.zeros_like(partner).scatter(1, best[:, :merges], 1)  # (B, n // 2), 0 or 1
    unmerged = in_a.shape[1] - merges
    group_a = torch.where(merged.bool(), unmerged + partner, (1 - merged).cumsum(dim=1) - 1)
    group = group_a.new_empty(keys.shape[:2])
    group[:, 1::2] = group_a
    group[:, ::2] = torch.arange(in_b.shape[1], device=keys.device) + unmerged
    return group, keys.shape[1] - merges
