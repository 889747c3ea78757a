"""The one adapter between timm's VisionTransformer, the token reducers, the cache and the heads."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ufgir.errors import UfgirWarning, UserError
from ufgir.models.attention import SelfAttention
from ufgir.models.cache import CacheState, CrossLayerCache, cache_options
from ufgir.models.heads import resolve_head
from ufgir.reducers import REDUCERS, Keep, Reducer, Stage, Tokens, reducer_name, resolve_reducer

POOLS = ("token", "avg", "map")  # timm's ways from tokens to one feature vector that are supported


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each module is back in its own mode."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def stage_keep_rates(keep_rate: float | Sequence[float], stages: int) -> tuple[float, ...]:
    """One keep rate for each of `stages` reduction layers.

    Attributes:
        keep_rates: one rate for each reduction layer.

    Raises:
        ValueError: a rate outside (0, 1], or a list of another length.
    """
    rates = tuple(keep_rate) if isinstance(keep_rate, Sequence) else (keep_rate,) * stages
    if len(rates) != stages:
        raise ValueError(f"keep_rate={list(rates)}: give one number or {stages}, one for each reduction layer.")
    if not all(0 < rate <= 1 for rate in rates):
        raise ValueError(f"keep_rate={keep_rate}: a keep rate is greater than 0 and at most 1.")
    return tuple(float(rate) for rate in rates)


def check_layers(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Reduction layers of a backbone with `depth` blocks.

    Raises:
        ValueError: not ascending, or no such block.
    """
    layers = tuple(int(layer) for layer in layers)
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 0 or layers[-1] >= depth:
        raise ValueError(f"reduction_layers={list(layers)}: give ascending blocks from 0 to {depth - 1}, each once.")
    return layers


class BlockOutput(NamedTuple):
    """What happened in one block.

    Attributes:
        attended: the sequence whose tokens were attended to.
        queries: number of tokens that attended.
        is_fused: whether the attention matrix was never formed.
        tokens: the sequence that left the block.
    """

    attended: Tokens
    queries: int
    is_fused: bool
    tokens: Tokens


def run_block(block: nn.Module, tokens: Tokens, reducer: Reducer | None) -> BlockOutput:
    """timm's pre-norm block with the three places where a reducer may act.

    Args:
        block: a timm `Block`.
        tokens: the sequence that enters.
        reducer: what acts in this block, if anything.
    """
    if reducer is None and tokens.attends_plainly:
        return BlockOutput(tokens, tokens.x.shape[1], block.attn.fused_attn, tokens.with_x(block(tokens.x)))
    if reducer is not None:
        tokens = reducer.before_block(tokens)
    attended, rows = tokens, None
    attention = SelfAttention(block.attn, block.norm1(tokens.x), tokens)
    if reducer is not None and (kept := reducer.select_queries(tokens, attention)) is not None:
        tokens, rows = tokens.assign(kept), _rows(kept, tokens.prefix)
    out = attention.output(rows)  # (B, K, C)
    tokens = tokens.with_x(tokens.x + block.drop_path1(block.ls1(out)))
    if reducer is not None:
        tokens = reducer.after_attention(tokens, attention)
    tokens = tokens.with_x(tokens.x + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens.x)))))
    return BlockOutput(attended, out.shape[1], attention.is_fused, tokens)


def _rows(kept: Keep, prefix: int) -> Tensor:
    """Positions in the whole sequence (B, prefix + m) of the prefix and of the kept tokens of its body."""
    front = torch.arange(prefix, device=kept.index.device).expand(kept.index.shape[0], -1)
    return torch.cat((front, kept.index + prefix), dim=1)


class ReducedViT(VisionTransformer):
    """A timm ViT that drops tokens on the way: images (B, 3, S, S) -> logits (B, classes).

    It takes over the modules and parameters of a built timm model, so its state dict has timm's names and loads back
    into timm's own model; `reducer="none", cache=False, head="linear"` computes what timm computes, bit for bit.

    Args:
        vit: a supported timm model (see `backbones.unsupported`); its modules are shared, not copied.
        reducer: `none`, a name in `ufgir.reducers.REDUCERS`, a subclass of `Reducer`, or a mapping with `name` or
            `_target_` and the reducer's own options.
        keep_rate: share of the tokens kept at each reduction layer, in (0, 1], or one rate for each.
        reduction_layers: 0-indexed blocks, ascending; cache and aggregation heads use them too.
        cache: CLC off, on, or its options `num_clr, gap, recover_at_last, pool_cls, pool_clr`.
        head: `linear` (timm's own), `cla`, `ifa`, a head class, or a mapping with `name` or `_target_` and options.

    A backbone without a class token takes the reducers that do not score tokens by its attention, no cache and the
    linear head.

    Raises:
        ValueError: an option is out of its range; the message says what is allowed.
        UserError: parts that do not go together, or a class that cannot be imported.
    """

    def __init__(
        self,
        vit: VisionTransformer,
        *,
        reducer: str | Mapping | type[Reducer] = "none",
        keep_rate: float | Sequence[float] = 1.0,
        reduction_layers: Sequence[int] = (3, 6, 9),
        cache: bool | Mapping = False,
        head: str | Mapping | type[nn.Module] = "linear",
    ) -> None:
        nn.Module.__init__(self)
        # Containers are copied so that a replaced head leaves `vit` as it was; what is in them is shared.
        self.__dict__.update({k: v.copy() if isinstance(v, dict) else v for k, v in vars(vit).items()})
        depth, cache_with = len(self.blocks), cache_options(cache)
        self.reduction_layers = check_layers(reduction_layers, depth)
        self._reducer, self._head = resolve_reducer(reducer), resolve_head(head)
        self._check_parts(cache_with is not None)
        self.cache = None
        if cache_with is not None:
            recovery = {*self.reduction_layers, *([depth - 2] if cache_with.pop("recover_at_last") else [])}
            embed_position = self.pos_embed is not None and not self.no_embed_class
            self.cache = CrossLayerCache(self.cls_token, recovery, embed_position, **cache_with)
        kind, options = self._reducer
        self.reducers = nn.ModuleDict()
        for layer, stage in self._stages(keep_rate).items():
            if stage.keep_rate < 1:
                self.reducers[layer] = kind(stage, **options)
        self.keep_rates = stage_keep_rates(keep_rate if kind else 1.0, len(self.reduction_layers))
        self.collected_layers: tuple[int, ...] = ()
        if self._head[0] is not None:
            self.collected_layers = tuple(sorted({*self.reduction_layers, depth - 1}))
            self.norm = self.fc_norm = nn.Identity()  # dead parameters would break DDP
            self.head = self._make_head(self.num_classes)
        for part in (self.reducers, self.cache):
            if part is not None:
                self._like_backbone(part)
        self._losses: tuple[Tensor, ...] = ()
        self._warn(stacklevel=4)

    def _check_parts(self, has_cache: bool) -> None:
        """Refuse what needs a class token where there is none, and masks where the pooling cannot heed them."""
        kind, head = self._reducer[0], self._head[0]
        messages, name = [], reducer_name(kind)
        if not self.has_class_token:
            if kind is not None and kind.needs_class_token:
                others = ", ".join(known for known, other in REDUCERS.items() if not other.needs_class_token)
                messages.append(f"reducer={name} scores tokens by the attention of the class token; choose {others}.")
            if has_cache:
                messages.append("cache: its CLR tokens start from the class token; choose cache=False (plugins=base).")
            if head is not None:
                messages.append("head: only linear works, the others read class tokens (plugins=base).")
            messages = [f"This backbone has no class token. {message}" for message in messages]
        if kind is not None and kind.masks_tokens and self.global_pool == "map":
            messages.append(f"reducer={name} masks tokens, which global_pool=map would read; choose tome or dpcknn.")
        if messages:
            raise UserError(*messages)

    def _stages(self, keep_rate: float | Sequence[float]) -> dict[str, Stage]:
        """The stage of each reduction layer, by the key of its reducer; none without a reducer."""
        if self._reducer[0] is None:
            return {}
        rates = stage_keep_rates(keep_rate, len(self.reduction_layers))
        patches, cached = self.patch_embed.num_patches, self.cache is not None
        layers = enumerate(self.reduction_layers)
        return {str(layer): Stage(s, rates, patches, self.embed_dim, cached) for s, layer in layers}

    def _make_head(self, num_classes: int) -> nn.Module:
        kind, options = self._head
        return self._like_backbone(kind(self.embed_dim, len(self.collected_layers), num_classes, **options))

    def _like_backbone(self, part: nn.Module) -> nn.Module:
        """A new part on the device, and in the precision and mode, of the backbone."""
        return part.to(next(self.blocks.parameters())).train(self.training)

    def _warn(self, stacklevel: int) -> None:
        for text in {reducer.warning() for reducer in self.reducers.values() if reducer.stage.keep_rate < 1} - {None}:
            warnings.warn(text, UfgirWarning, stacklevel=stacklevel)

    def set_keep_rate(self, keep_rate: float | Sequence[float]) -> None:
        """Change the keep rate of a built model, for all reduction layers or one rate for each.

        Afterwards it computes what a model built with this rate and the same weights computes. At rate 1 a reducer
        rests and keeps its weights.

        Raises:
            ValueError: a rate out of range; or a reducer whose weights have another shape for this rate (sit,
                patchmerger), or that has none at a layer that was built at rate 1. The model is then unchanged.
        """
        kind, options = self._reducer
        if kind is None:
            if set(stage_keep_rates(keep_rate, len(self.reduction_layers))) != {1.0}:
                raise ValueError(f"keep_rate={keep_rate}: this model has reducer=none, which keeps every token.")
            return
        stages, created = self._stages(keep_rate), {}
        for layer, stage in stages.items():
            if stage.keep_rate == 1:
                continue
            with torch.device("meta"):
                wanted = {name: value.shape for name, value in kind(stage, **options).state_dict().items()}
            if layer in self.reducers:
                found = {name: value.shape for name, value in self.reducers[layer].state_dict().items()}
                remedy = "its weights depend on the budget; build a model with this keep rate and train it"
            else:
                found, created[layer] = {}, stage
                remedy = "this layer was built at keep_rate=1 and has no weights; build it with a lower rate"
            if wanted != found:
                name = reducer_name(kind)
                raise ValueError(f"keep_rate={keep_rate}: reducer={name} cannot change at layer {layer}: {remedy}.")
        for layer, reducer in self.reducers.items():
            reducer.set_stage(stages[layer])
        for layer, stage in created.items():
            self.reducers[layer] = self._like_backbone(kind(stage, **options))
        self.keep_rates = stage_keep_rates(keep_rate, len(self.reduction_layers))
        self._warn(stacklevel=3)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one, of the same kind, in the backbone's device, precision and mode.

        Args:
            num_classes: number of classes; 0 for features (B, width) instead of logits.
            global_pool: timm's way of pooling, for the linear head; None: unchanged.

        Raises:
            ValueError: a way of pooling that this model does not support.
        """
        if self._head[0] is not None:
            if global_pool not in (None, self.global_pool):
                raise ValueError(
                    f"global_pool={global_pool!r}: this head reads class tokens and does not pool; omit it."
                )
            self.num_classes, self.head = num_classes, self._make_head(num_classes)
            return
        allowed = [pool for pool in ("", *POOLS) if self._can_pool(pool)]
        if global_pool is not None and global_pool not in allowed:
            raise ValueError(f"global_pool={global_pool!r}: this model takes {', '.join(map(repr, allowed))}.")
        super().reset_classifier(num_classes, global_pool)
        self._like_backbone(self.head)

    def _can_pool(self, pool: str) -> bool:
        return (pool != "token" or self.has_class_token) and (pool != "map" or self.attn_pool is not None)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) -> logits (B, classes)."""
        return self.forward_head(self.forward_features(images))

    def forward_features(
        self, images: Tensor, observe: Callable[[BlockOutput], None] | None = None, *, sources: bool = False
    ) -> Tensor:
        """Images (B, 3, S, S) -> what the head reads: tokens (B, N, C), or class tokens (B, C, G) for cla and ifa.

        Args:
            images: a batch of images.
            observe: called for each block with what happened in it, before any recovery.
            sources: keep track of which original patches each token comes from (`Tokens.source`).
        """
        tokens, cached = self._embed(images, sources)
        cache, collected_layers, collected = self.cache, self.collected_layers, []
        reducers = {int(layer): one for layer, one in self.reducers.items() if one.stage.keep_rate < 1}
        is_checkpointing = self.grad_checkpointing and self.training
        for layer, block in enumerate(self.blocks):
            if is_checkpointing:
                output = checkpoint(run_block, block, tokens, reducers.get(layer), use_reentrant=False)
            else:
                output = run_block(block, tokens, reducers.get(layer))
            tokens = output.tokens
            if observe is not None:
                observe(output)
            if cache is not None:
                tokens = cache.after_block(layer, tokens, cached)
            if layer in collected_layers:
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
            tokens.source = own.expand(x.shape[0], -1, -1)  # (B, N, P)
            tokens.from_cache = torch.zeros_like(x[..., 0])
        if self.cache is not None:
            tokens, cached = self.cache.begin(tokens)
        return tokens.with_x(self.norm_pre(tokens.x)), cached

    def _weighted_for_pool(self, x: Tensor, tokens: Tokens) -> Tensor:
        """Weights on the tokens (B, N, C) with which timm's mean over all of them becomes one over those present."""
        if self.global_pool != "avg" or tokens.token_weight is None:
            return x
        present = tokens.token_weight[:, tokens.prefix :, None].to(x.dtype)  # (B, n, 1)
        present = present * present.shape[1] / present.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.cat((x[:, : tokens.prefix], x[:, tokens.prefix :] * present), dim=1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """What `forward_features` returned -> logits (B, classes); with `pre_logits` what the classifier reads."""
        if not self.collected_layers:
            return super().forward_head(x, pre_logits=pre_logits)
        return x if pre_logits else self.head(x)

    def reducer_loss(self) -> Tensor | float:
        """What the reducers add to the training loss for the last forward pass; 0.0 if nothing."""
        return torch.stack(self._losses).sum() if self._losses else 0.0

    def trace(self, images: Tensor, *, sources: bool = False) -> list[Tokens]:
        """The sequence that leaves each block in evaluation, prefix and CLR included, before any recovery.

        Args:
            images: (B, 3, S, S).
            sources: with the weight of each original patch in each token, `Tokens.source` (B, N, P).
        """
        sequences: list[Tokens] = []
        with evaluating(self):
            self.forward_features(images, lambda output: sequences.append(output.tokens), sources=sources)
        return sequences

    def tokens_after_block(self, images: Tensor) -> list[int]:
        """Valid tokens that leave each block in evaluation, prefix and CLR included, of the image with most of them."""
        return [int(tokens.counts().max()) for tokens in self.trace(images)]

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that AdamW leaves undecayed besides 1-D ones (timm's convention)."""
        return super().no_weight_decay() | {"cache.clr", "cache.pos_embed"}

    def forward_intermediates(self, *_args, **_kwargs):
        """Not available: timm's method would bypass the reducers. Use `forward_features(images, observe=...)`."""
        raise NotImplementedError(self.forward_intermediates.__doc__)

    get_intermediate_layers = prune_intermediate_layers = forward_intermediates

    def __getstate__(self) -> dict[str, Any]:
        # The losses of the last forward pass belong to its graph, which can neither be copied nor pickled.
        return {**super().__getstate__(), "_losses": ()}
