"""The one adapter between timm's VisionTransformer, the token reducers and the plug-ins."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ufgir.errors import UfgirWarning
from ufgir.models.blocks import Passage, run_block
from ufgir.models.modes import evaluating
from ufgir.models.options import cache_options, checked_layers, head_options, reducer_options, stage_keep_rates
from ufgir.plugins import HEADS, CacheState, CrossLayerCache
from ufgir.reducers import find_reducer
from ufgir.tokens import Stage, Tokens


class ReducedViT(VisionTransformer):
    """A timm ViT that drops tokens on the way: images (B, 3, S, S) -> logits (B, classes).

    It takes over the modules and parameters of a built timm model, so its state dict has timm's names and loads back
    into timm's own model; `reducer="none", cache=False, head="linear"` computes what timm computes, bit for bit.

    Args:
        vit: a supported timm model (see `backbones.unsupported`); its modules are shared, not copied.
        reducer: `none`, a name of `reducers.reducer_names()`, or a mapping with `name` and the reducer's own options.
        keep_rate: share of the tokens kept at each reduction layer, in (0, 1], or one rate for each.
        reduction_layers: 0-indexed blocks, ascending; cache and aggregation heads use them too.
        cache: CLC off, on, or its options `num_clr, gap, recover_at_last, pool_cls, pool_clr`.
        head: `linear` (timm's own), `cla`, `ifa`, or a mapping with `name` and, for cla, `multiplier`.

    Raises:
        ValueError: an option is out of its range; the message says what is allowed.
    """

    def __init__(
        self,
        vit: VisionTransformer,
        *,
        reducer: str | Mapping = "none",
        keep_rate: float | Sequence[float] = 1.0,
        reduction_layers: Sequence[int] = (3, 6, 9),
        cache: bool | Mapping = False,
        head: str | Mapping = "linear",
    ) -> None:
        nn.Module.__init__(self)
        # Containers are copied so that a replaced head leaves `vit` as it was; what is in them is shared.
        self.__dict__.update({k: v.copy() if isinstance(v, dict) else v for k, v in vars(vit).items()})
        depth = len(self.blocks)
        self.reduction_layers = checked_layers(reduction_layers, depth)
        self.cache = self._make_cache(cache_options(cache), depth)
        self.reducers = self._make_reducers(reducer_options(reducer), keep_rate)
        self._replace_head(head_options(head), depth)
        for part in (self.reducers, self.cache, self.head if self.collected_layers else None):
            if part is not None:
                part.to(self.cls_token).train(self.training)  # as the ViT is: device, precision and mode
        self._losses: tuple[Tensor, ...] = ()
        for text in {reducer.caution() for reducer in self.reducers.values()} - {None}:
            warnings.warn(text, UfgirWarning, stacklevel=3)

    def _make_reducers(self, options: dict, keep_rate: float | Sequence[float]) -> nn.ModuleDict:
        """One reducer for each layer whose rate is below 1, keyed by the layer."""
        name = options.pop("name")
        if name == "none":
            return nn.ModuleDict()
        kind = find_reducer(name)
        rates = stage_keep_rates(keep_rate, len(self.reduction_layers))
        patches = self.patch_embed.num_patches
        stages = [Stage(s, rates, patches, self.embed_dim, self.cache is not None) for s in range(len(rates))]
        return nn.ModuleDict(
            {
                str(layer): kind(stage, **options)
                for layer, stage in zip(self.reduction_layers, stages, strict=True)
                if stage.keep_rate < 1
            }
        )

    def _make_cache(self, options: dict | None, depth: int) -> CrossLayerCache | None:
        if options is None:
            return None
        recovery = {*self.reduction_layers, *([depth - 2] if options.pop("recover_at_last") else [])}
        embed_position = self.pos_embed is not None and not self.no_embed_class
        return CrossLayerCache(self.cls_token, recovery, embed_position, **options)

    def _replace_head(self, options: dict, depth: int) -> None:
        """Put an aggregation head in timm's place; what it makes useless goes, as dead parameters break DDP."""
        name = options.pop("name")
        self.collected_layers: tuple[int, ...] = ()
        if name == "linear":
            return
        self.collected_layers = tuple(sorted({*self.reduction_layers, depth - 1}))
        self.norm = self.fc_norm = nn.Identity()
        self.head = HEADS[name](self.embed_dim, len(self.collected_layers), self.num_classes, **options)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) -> logits (B, classes)."""
        return self.forward_head(self.forward_features(images))

    def forward_features(
        self, images: Tensor, observe: Callable[[Passage], None] | None = None, *, sources: bool = False
    ) -> Tensor:
        """Images (B, 3, S, S) -> what the head reads: tokens (B, N, C), or class tokens (B, C, G) for cla and ifa.

        Args:
            images: a batch of images.
            observe: called for each block with what happened in it, before any recovery.
            sources: keep track of which original patches each token comes from (`Tokens.source`).
        """
        tokens, cached = self._embed(images, sources)
        collected = []
        for layer in range(len(self.blocks)):
            passage = self._run_block(layer, tokens)
            tokens = passage.leaving
            if observe is not None:
                observe(passage)
            if self.cache is not None:
                tokens = self.cache.after_block(layer, tokens, cached)
            if layer in self.collected_layers:
                collected.append(tokens.x[:, 0])
        if tokens.losses or self._losses:  # otherwise nothing is assigned, as a model for export must not
            self._losses = tokens.losses
        return torch.stack(collected, dim=-1) if collected else self._weighted_for_pool(self.norm(tokens.x), tokens)

    def _embed(self, images: Tensor, sources: bool) -> tuple[Tokens, CacheState | None]:
        """What enters the first block, CLR tokens included, and the empty cache."""
        x = self.patch_drop(self._pos_embed(self.patch_embed(images)))
        tokens, cached = Tokens(x, self.num_prefix_tokens), None
        if sources:
            own = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)[:, self.num_prefix_tokens :]
            source = own.expand(x.shape[0], -1, -1)  # (B, N, P)
            tokens = replace(tokens, source=source, from_cache=torch.zeros_like(x[..., 0]))
        if self.cache is not None:
            tokens, cached = self.cache.begin(tokens)
        return replace(tokens, x=self.norm_pre(tokens.x)), cached

    def _run_block(self, layer: int, tokens: Tokens) -> Passage:
        """Block `layer` with its reducer."""
        reducer = self.reducers[str(layer)] if str(layer) in self.reducers else None
        if self.grad_checkpointing and self.training:
            return checkpoint(run_block, self.blocks[layer], tokens, reducer, use_reentrant=False)
        return run_block(self.blocks[layer], tokens, reducer)

    def _weighted_for_pool(self, x: Tensor, tokens: Tokens) -> Tensor:
        """Weights on the tokens (B, N, C) with which timm's mean over all of them becomes one over those present."""
        if self.global_pool != "avg" or tokens.presence is None:
            return x
        present = tokens.presence[:, tokens.prefix :, None].to(x.dtype)  # (B, n, 1)
        present = present * present.shape[1] / present.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.cat((x[:, : tokens.prefix], x[:, tokens.prefix :] * present), dim=1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """What `forward_features` returned -> logits (B, classes)."""
        if not self.collected_layers:
            return super().forward_head(x, pre_logits=pre_logits)
        return x if pre_logits else self.head(x)

    def reducer_loss(self) -> Tensor | float:
        """What the reducers ask for in the last forward pass, to be added to the loss in training; 0.0 if nothing."""
        return torch.stack(self._losses).sum() if self._losses else 0.0

    def trace(self, images: Tensor, *, sources: bool = False) -> list[Tokens]:
        """The sequence that leaves each block in evaluation, prefix and CLR included, before any recovery.

        Args:
            images: (B, 3, S, S).
            sources: with the weight of each original patch in each token, `Tokens.source` (B, N, P).
        """
        leaving: list[Tokens] = []
        with evaluating(self):
            self.forward_features(images, lambda passage: leaving.append(passage.leaving), sources=sources)
        return leaving

    def tokens_after_block(self, images: Tensor) -> list[int]:
        """Valid tokens that leave each block in evaluation, prefix and CLR included, of the image with most of them."""
        return [int(tokens.counts().max()) for tokens in self.trace(images)]

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that AdamW leaves undecayed besides 1-D ones (timm's convention)."""
        return super().no_weight_decay() | {"cache.clr", "cache.pos_embed"}

    def forward_intermediates(self, *_args, **_kwargs):
        """Not offered: timm's method would bypass the reducers. Use `forward_features(images, observe=...)`."""
        raise NotImplementedError(self.forward_intermediates.__doc__)

    get_intermediate_layers = prune_intermediate_layers = forward_intermediates

    def __getstate__(self) -> dict[str, Any]:
        # The losses of the last forward pass belong to its graph, which can neither be copied nor pickled.
        return {**super().__getstate__(), "_losses": ()}
