"""What a model does with the patches of one image, read from the weights that each patch has in the tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ufgir.data.transforms import normalize
from ufgir.models import BlockOutput, ReducedViT, evaluating
from ufgir.models.attention import SelfAttention
from ufgir.models.vit import run_block
from ufgir.reducers import Tokens

TOLERANCE = 0.02  # how far the weights of a mean may be from adding up to 1: DPC-KNN divides by a little more


class PatchState(IntEnum):
    """What became of a patch or, for `PatchMap.tokens`, what a token is made of."""

    DROPPED = 0  # patches only: in no token that is left
    KEPT = 1  # a token of its own
    MERGED = 2  # in a token that is the mean of several patches
    FUSED = 3  # in a token that is any other sum of patches
    MIXED = 4  # spread over several tokens
    RECOVERED = 5  # tokens only: appended by the cache


@dataclass(frozen=True)
class PatchMap:
    """The patches after one block.

    Attributes:
        state: of each patch (P,), a `PatchState`.
        token: the one that each patch is in (P,), of several that of which it has the largest share; -1 if dropped.
        share: of each patch in what that token is made of (P,), 0 to 1.
        tokens: the state of each token (N,), without the prefix.
    """

    state: np.ndarray
    token: np.ndarray
    share: np.ndarray
    tokens: np.ndarray

    def count(self, state: PatchState) -> int:
        """Number of tokens of that state."""
        return int((self.tokens == state).sum())


@dataclass(frozen=True)
class Stage:
    """The sequence after a block with a reducer: the block from 0, its tokens with the prefix, and its patches."""

    block: int
    tokens: int
    patches: PatchMap


@dataclass(frozen=True)
class ClassAttention:
    """What the class token attends to; all parts together are 1.

    Attributes:
        patches: each patch (P,); a token's attention is shared out as the token is made of patches.
        prefix: the class token itself and registers.
        cache: what the cache appended.
    """

    patches: np.ndarray
    prefix: float
    cache: float


@dataclass(frozen=True)
class TokenTrace:
    """One image on its way through a model.

    Attributes:
        pixels: the image as the model sees it (S, S, 3), uint8.
        grid: rows and columns of patches.
        prefix: number of class and register tokens.
        stages: one for each block with a reducer.
        attention: in the last block, mean over heads; None without a class token.
        rollout: of the attention through all blocks; None without a class token, or if it was not asked for.
        probabilities: of the classes.
    """

    pixels: np.ndarray
    grid: tuple[int, int]
    prefix: int
    stages: Sequence[Stage]
    attention: ClassAttention | None
    rollout: ClassAttention | None
    probabilities: np.ndarray


def trace_tokens(model: ReducedViT, pixels: Tensor, *, rollout: bool = False) -> TokenTrace:
    """Run a model on one image, uint8 (3, S, S), and follow its patches. The model is left as it was.

    Args:
        model: in any precision; its weights say in which.
        pixels: as `ufgir.data.transforms.decode_for_test` yields them.
        rollout: compute `TokenTrace.rollout`, too.
    """
    outputs: list[BlockOutput] = []
    parameter = next(model.parameters())
    image = normalize(pixels[None].to(parameter.device)).to(parameter.dtype)
    attention = rolled = None
    with evaluating(model):
        logits = model.forward_head(model.forward_features(image, outputs.append, sources=True))
        if model.has_class_token:
            attention = class_attention(model.blocks[-1], outputs[-1].attended)
            rolled = attention_rollout(model, image) if rollout else None
    stages = []
    for block in sorted(_acting_reducers(model)):
        tokens = outputs[block].tokens
        source, cached = (values[tokens.prefix :] for values in _origins(tokens))
        stages.append(Stage(block, len(source) + tokens.prefix, read_patches(source, cached)))
    return TokenTrace(
        pixels=pixels.permute(1, 2, 0).cpu().numpy(),
        grid=tuple(model.patch_embed.grid_size),
        prefix=model.num_prefix_tokens,
        stages=stages,
        attention=attention,
        rollout=rolled,
        probabilities=_numpy(logits[0].softmax(dim=0)),
    )


def read_patches(source: np.ndarray, from_cache: np.ndarray) -> PatchMap:
    """The state of each patch.

    Args:
        source: weight of each patch in each token (N, P), of tokens that are no padding, without the prefix.
        from_cache: weight in each token of what the cache appended (N,).
    """
    has = source > 0
    patches_of, mass = has.sum(axis=1), source.sum(axis=1) + from_cache  # (N,)
    is_mean = np.abs(mass - 1) < TOLERANCE
    kept = (patches_of == 1) & is_mean & (from_cache < TOLERANCE)
    weight, total = source.max(axis=0, initial=0), source.sum(axis=0)  # (P,)
    spread = (weight < (1 - TOLERANCE) * total) & ~has[kept].any(axis=0)
    # A mean of all patches that are left is no group beside others: its weights tell more than an outline.
    tokens = np.where(is_mean & ((patches_of > 0).sum() > 1), PatchState.MERGED, PatchState.FUSED)
    tokens[(has & spread).any(axis=1)] = PatchState.MIXED
    tokens[kept] = PatchState.KEPT
    tokens[patches_of == 0] = PatchState.RECOVERED
    token, state, share = np.full(len(total), -1), np.full(len(total), PatchState.DROPPED), np.zeros(len(total))
    if (left := total > 0).any():
        among_patches = source / np.maximum(source.sum(axis=1, keepdims=True), 1e-12)
        token[left] = among_patches[:, left].argmax(axis=0)
        state[left] = tokens[token[left]]
        share[left] = source[token[left], left.nonzero()[0]] / mass[token[left]]
    return PatchMap(state, token, share, tokens)


def class_attention(block: nn.Module, attended: Tokens) -> ClassAttention:
    """Attention of the class token in one block, mean over heads, of the sequence (1, N, C) that was attended to."""
    attention = SelfAttention(block.attn, block.norm1(attended.x), attended)
    row = _numpy(attention.cls_attention()[0].mean(dim=0))[_present(attended)]  # (n,)
    source, cached = _origins(attended)
    mass = source.sum(axis=1) + cached
    per_mass = row / np.where(mass > 0, mass, 1)  # the prefix has no sources
    return ClassAttention(per_mass @ source, float(row[: attended.prefix].sum()), float(per_mass @ cached))


def attention_rollout(model: ReducedViT, image: Tensor) -> ClassAttention:
    """What the class token has gathered in all blocks (attention rollout, Abnar and Zuidema, ACL 2020).

    Each block is half attention, mean over heads, and half residual; where a reducer changes the sequence, new tokens
    take over what the old ones had. An identity in the place of the sources shows, for each block, what the reducer did
    before its attention and after it.

    Args:
        model: in evaluation mode, with a class token.
        image: normalized (1, 3, S, S).
    """
    reducers = _acting_reducers(model)
    tokens, cache = model._embed(image, True)
    prefix = torch.arange(tokens.x.shape[1], device=image.device) < tokens.prefix
    gathered = (tokens.source[0], prefix[:, None], tokens.from_cache[0, :, None])
    gathered = torch.cat(gathered, dim=1).double()  # (N, P + 2)
    for layer, block in enumerate(model.blocks):
        own = torch.eye(tokens.x.shape[1], dtype=tokens.x.dtype, device=image.device)[None]
        tokens = replace(tokens, source=own, from_cache=torch.zeros_like(own[..., 0]))
        output = run_block(block, tokens, reducers.get(layer))
        attended, tokens = output.attended, output.tokens
        before, whole = attended.source[0].double(), tokens.source[0].double()  # (M, N), (K, N)
        after = whole @ torch.linalg.pinv(before)  # (K, M)
        attention = SelfAttention(block.attn, block.norm1(attended.x), attended)
        weights = attention.weights()[0].mean(dim=0).double()  # (M, M)
        gathered = (whole + after @ weights @ before) / 2 @ gathered
        gathered = gathered / gathered.sum(dim=1, keepdim=True).clamp(min=1e-12)  # EViT's fused weights add up to less
        if model.cache is not None:
            count, tokens = tokens.x.shape[1], model.cache.after_block(layer, tokens, cache)
            gathered = F.pad(gathered, (0, 0, 0, tokens.x.shape[1] - count))
            gathered[count:, -1] = 1
    row = _numpy(gathered[0])
    return ClassAttention(row[:-2], float(row[-2]), float(row[-1]))


def _acting_reducers(model: ReducedViT) -> dict[int, nn.Module]:
    return {int(layer): reducer for layer, reducer in model.reducers.items() if reducer.stage.keep_rate < 1}


def _present(tokens: Tokens) -> np.ndarray:
    """Positions of the tokens that are no padding, of the only image."""
    return np.arange(tokens.x.shape[1]) if tokens.valid is None else np.flatnonzero(tokens.valid[0].cpu().numpy())


def _origins(tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the patches (n, P) and of the cache (n,) in each of the tokens that are no padding."""
    present = _present(tokens)
    return _numpy(tokens.source[0])[present], _numpy(tokens.from_cache[0])[present]


def _numpy(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
