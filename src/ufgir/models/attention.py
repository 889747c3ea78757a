"""Self-attention on the fused kernel, and beside it only those rows of the attention matrix that a reducer asks for.

Where timm's `fused_attn` is off (`timm.layers.set_fused_attn(False)`) the whole matrix is formed, as in the reference.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ufgir.reducers.tokens import Tokens, at_least_float32, gather_tokens

POLICY_EPSILON = 1e-6


def call(module: nn.Module, x: Tensor) -> Tensor:
    """`module(x)`, but no call where it changes nothing: with few tokens calls take as long as the arithmetic."""
    is_idle = type(module) is nn.Identity or (type(module) is nn.Dropout and not module.training)
    return x if is_idle else module(x)


class SelfAttention:
    """One block's attention over one sequence.

    Args:
        attn: a timm `Attention` module.
        x: normalised tokens (B, N, C), CLS first.
        tokens: the sequence itself: sizes, padding and policy change who attends to whom.

    Attributes:
        queries, keys, values: (B, H, N, D) each.
        key_bias: log(size), added to the logits of each key (B, 1, 1, N) (ToMe), or a bool mask of padding (ATS).
    """

    def __init__(self, attn: nn.Module, x: Tensor, tokens: Tokens) -> None:
        batch, count, _ = x.shape
        qkv = attn.qkv(x).reshape(batch, count, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
        queries, keys, self.values = qkv.unbind(0)
        self.queries, self.keys = call(attn.q_norm, queries), call(attn.k_norm, keys)
        self.attn, self.policy = attn, tokens.policy
        is_weighted = tokens.valid is None and tokens.size is not None
        bias = tokens.size.log().to(self.queries.dtype) if is_weighted else tokens.valid
        self.key_bias = None if bias is None else bias[:, None, None]
        self._matrix: Tensor | None = None

    @property
    def is_fused(self) -> bool:
        """Whether the attention matrix is never formed."""
        return self.attn.fused_attn and self.policy is None

    def cls_attention(self) -> Tensor:
        """Attention of the class token to every token, softmaxed for each head (B, H, N)."""
        if not self.attn.fused_attn:
            return self.weights()[:, :, 0]
        return self._softmaxed(self.queries[:, :, :1]).squeeze(2)

    def output(self, rows: Tensor | None = None) -> Tensor:
        """What the module returns for its tokens (B, N, C), or for those at `rows` (B, K) alone: (B, K, C)."""
        if self.policy is not None:
            out = self._attend_by_policy()
        elif self.attn.fused_attn:
            drop = self.attn.attn_drop.p if self.attn.training else 0.0
            queries = _rows_of(self.queries, rows)  # (B, H, K, D)
            out = F.scaled_dot_product_attention(queries, self.keys, self.values, self.key_bias, dropout_p=drop)
        else:
            out = self.attn.attn_drop(_rows_of(self.weights(), rows)) @ self.values
        out = call(self.attn.norm, out.transpose(1, 2).flatten(2))  # (B, K, C)
        return call(self.attn.proj_drop, self.attn.proj(out))

    def weights(self) -> Tensor:
        """The attention matrix (B, H, N, N), formed once."""
        self._matrix = self._softmaxed(self.queries) if self._matrix is None else self._matrix
        return self._matrix

    def _softmaxed(self, queries: Tensor) -> Tensor:
        """Rows of the attention matrix (B, H, K, N) of `queries` (B, H, K, D)."""
        logits = (queries * self.attn.scale) @ self.keys.transpose(-2, -1)
        if self.key_bias is not None:
            is_mask = self.key_bias.dtype == torch.bool
            logits = logits.masked_fill(~self.key_bias, -torch.inf) if is_mask else logits + self.key_bias
        return logits.softmax(dim=-1)

    def _attend_by_policy(self) -> Tensor:
        """DynamicViT's softmax in training (B, H, N, D): nobody attends to a hidden token but the token itself.

        (e + eps / N) / (sum e + eps), e = exp(logit - row maximum) * policy, in full precision: the matrix is formed.
        """
        count = self.keys.shape[2]
        logits = at_least_float32((self.queries * self.attn.scale) @ self.keys.transpose(-2, -1))  # (B, H, N, N)
        policy = self.policy[:, None, None].to(logits.dtype)  # (B, 1, 1, N)
        policy = policy + (1 - policy) * torch.eye(count, dtype=logits.dtype, device=logits.device)
        weights = (logits - logits.amax(dim=-1, keepdim=True)).exp() * policy
        weights = (weights + POLICY_EPSILON / count) / (weights.sum(dim=-1, keepdim=True) + POLICY_EPSILON)
        return self.attn.attn_drop(weights.to(self.values.dtype)) @ self.values


def _rows_of(values: Tensor, rows: Tensor | None) -> Tensor:
    """`values` (B, H, N, W) at the positions `rows` (B, K): (B, H, K, W); all of them if there are no `rows`."""
    if rows is None:
        return values
    gathered = gather_tokens(values.flatten(0, 1), rows.repeat_interleave(values.shape[1], dim=0))
    return gathered.unflatten(0, values.shape[:2])
