"""Self-attention on the fused kernel, with the class token's row of the attention matrix computed beside it."""

import torch.nn.functional as F
from torch import Tensor, nn


def attend(attn: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Run timm's `Attention` and also return what the class token attends to.

    The fused kernel never forms the (N, N) matrix. A reducer needs one row of it, which costs one small product.

    Args:
        attn: a `timm` Attention module.
        x: normalised tokens (B, N, C), CLS first.

    Returns:
        The module's output (B, N, C), and the class token's attention, softmaxed and averaged over heads (B, N).
    """
    batch, tokens, _ = x.shape
    qkv = attn.qkv(x).reshape(batch, tokens, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    query, key, value = qkv.unbind(0)  # (B, H, N, D) each
    query, key = attn.q_norm(query), attn.k_norm(key)
    out = F.scaled_dot_product_attention(query, key, value, dropout_p=attn.attn_drop.p if attn.training else 0.0)
    out = out.transpose(1, 2).flatten(2)  # (B, N, C)
    out = attn.proj_drop(attn.proj(attn.norm(out) if hasattr(attn, "norm") else out))
    cls_row = (query[:, :, :1] * attn.scale) @ key.transpose(-2, -1)  # (B, H, 1, N)
    return out, cls_row.softmax(dim=-1).mean(dim=(1, 2))
