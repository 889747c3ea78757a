"""One image through the model, with everything that the pictures show of it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ufgir.data.transforms import as_batch, normalised
from ufgir.models import ReducedViT
from ufgir.models.attention import SelfAttention
from ufgir.models.blocks import Passage
from ufgir.models.modes import evaluating
from ufgir.pictures.patches import PatchMap, read_patches
from ufgir.tokens import Tokens


@dataclass(frozen=True)
class StageLook:
    """The sequence that leaves one reduction layer.

    Attributes:
        layer: the block, counted from 0.
        tokens: how many are left, prefix included.
        patches: what became of the patches.
    """

    layer: int
    tokens: int
    patches: PatchMap


@dataclass(frozen=True)
class AttentionLook:
    """To what CLS attends in one block, mean over heads; all parts together are 1.

    Attributes:
        layer: the block, counted from 0.
        patches: attention to each patch (P,), that to a token shared out as the token is made of patches.
        prefix: attention to CLS itself and to registers.
        cache: attention to what the cache appended.
    """

    layer: int
    patches: np.ndarray
    prefix: float
    cache: float


@dataclass(frozen=True)
class Look:
    """What a model does with one image.

    Attributes:
        pixels: the image as the model sees it (S, S, 3), uint8.
        grid: rows and columns of patches.
        prefix: number of CLS and register tokens.
        stages: one for each block with a reducer.
        attention: of CLS in the last block.
        probabilities: of the classes.
    """

    pixels: np.ndarray
    grid: tuple[int, int]
    prefix: int
    stages: list[StageLook]
    attention: AttentionLook
    probabilities: np.ndarray


def look_at(model: ReducedViT, pixels: np.ndarray) -> Look:
    """Show a model one image, uint8 (S, S, 3), and note where its patches go."""
    passages: list[Passage] = []
    image = normalised(as_batch([pixels])).to(model.cls_token)
    with evaluating(model):
        logits = model.forward_head(model.forward_features(image, passages.append, sources=True))
        attention = _attention_of(model, len(passages) - 1, passages[-1].attended)
    layers = sorted(map(int, model.reducers))
    stages = [_stage_of(layer, passages[layer].leaving) for layer in layers]
    probabilities = logits[0].float().softmax(dim=0).cpu().numpy()
    grid = tuple(model.patch_embed.grid_size)
    return Look(pixels, grid, model.num_prefix_tokens, stages, attention, probabilities)


def _stage_of(layer: int, tokens: Tokens) -> StageLook:
    return StageLook(layer, int(tokens.counts()[0]), read_patches(*_origin(tokens, tokens.prefix)))


def _attention_of(model: ReducedViT, layer: int, attended: Tokens) -> AttentionLook:
    """The forward pass has no row of CLS where no reducer asks for one: it is computed from what was attended."""
    block = model.blocks[layer]
    row = SelfAttention(block.attn, block.norm1(attended.x), attended).class_row()  # (B, H, N)
    row = _numpy(row[0].float().mean(dim=0)[_present(attended)])
    source, from_cache = _origin(attended, 0)
    mass = source.sum(axis=1) + from_cache
    row_of_sources = row / np.where(mass > 0, mass, 1)  # the prefix has no sources
    prefix = float(row[: attended.prefix].sum())
    return AttentionLook(layer, row_of_sources @ source, prefix, float(row_of_sources @ from_cache))


def _origin(tokens: Tokens, start: int) -> tuple[np.ndarray, np.ndarray]:
    """`source` (n, P) and `from_cache` (n,) of the tokens from position `start` that are present in the only image."""
    present = _present(tokens)
    return _numpy(tokens.source[0][present][start:]), _numpy(tokens.from_cache[0][present][start:])


def _present(tokens: Tokens) -> Tensor:
    if tokens.valid is None:
        return torch.ones(tokens.x.shape[1], dtype=torch.bool, device=tokens.x.device)
    return tokens.valid[0]


def _numpy(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
