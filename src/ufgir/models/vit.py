"""The one adapter between timm's VisionTransformer, the token reducers, the cache and the heads."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from timm.layers import Mlp
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ufgir.errors import UfgirWarning, UserError
from ufgir.models.attention import SelfAttention, call
from ufgir.models.cache import CacheState, CrossLayerCache, cache_options
from ufgir.models.heads import resolve_head
from ufgir.reducers import REDUCERS, Reducer, Stage, Tokens, reducer_name, resolve_reducer

POOLS = ("token", "avg", "map")  # timm's ways from tokens to one feature vector that are supported
FEW = 64  # tokens up to which the calls of timm's modules take a noticeable part of a block's time


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

    Raises:
        ValueError: a rate outside (0, 1], or a list of another length.
    """
    rates = tuple(keep_rate) if isinstance(keep_rate, Sequence) else (keep_rate,) * stages
    if len(rates) != stages:
        raise ValueError(f"keep_rate={list(rates)}: give one number or {stages}, one for each reduction layer.")
    if not all(0 < rate <= 1 for rate in rates):
        raise ValueError(f"keep_rate={keep_rate}: a keep rate is greater than 0 and at most 1.")
    return tuple(float(rate) for rate in rates)


class BlockOutput(NamedTuple):
    """What happened in one block."""

    attended: Tokens  # the sequence whose tokens were attended to
    queries: int  # number of tokens that attended
    is_fused: bool  # whether the attention matrix was never formed
    tokens: Tokens  # the sequence that left the block


def run_block(block: nn.Module, tokens: Tokens, reducer: Reducer | None) -> BlockOutput:
    """timm's pre-norm block on a sequence, with the three places where a reducer, if there is one, may act."""
    # In evaluation of few tokens timm's modules for the block and its parts are left out, which changes no bit.
    is_lean = (
        not block.training and tokens.x.shape[1] <= FEW and not any(map(has_hooks, (block, block.attn, block.mlp)))
    )
    if reducer is None and tokens.size is None and tokens.token_weight is None and not is_lean:
        return BlockOutput(tokens, tokens.x.shape[1], block.attn.fused_attn, tokens.with_x(block(tokens.x)))
    if reducer is not None:
        tokens = reducer.before_block(tokens)
    attended, rows = tokens, None
    attention = SelfAttention(block.attn, block.norm1(tokens.x), tokens)
    if reducer is not None and (kept := reducer.select_queries(tokens, attention)) is not None:
        front = torch.arange(tokens.prefix, device=kept.index.device).expand(kept.index.shape[0], -1)
        rows = torch.cat((front, kept.index + tokens.prefix), dim=1)  # (B, K), with the prefix
        tokens = tokens.assign(kept)
    out = attention.output(rows)  # (B, K, C)
    tokens = tokens.with_x(tokens.x + call(block.drop_path1, call(block.ls1, out)))
    if reducer is not None:
        tokens = reducer.after_attention(tokens, attention)
    x, mlp = block.norm2(tokens.x), block.mlp
    if is_lean and type(mlp) is Mlp:
        x = call(mlp.norm, call(mlp.drop1, mlp.act(mlp.fc1(x))))
        x = call(mlp.drop2, mlp.fc2(x))
    else:
        x = mlp(x)
    tokens = tokens.with_x(tokens.x + call(block.drop_path2, call(block.ls2, x)))
    return BlockOutput(attended, out.shape[1], attention.is_fused, tokens)


def has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


class ReducedViT(VisionTransformer):
    """A timm ViT that drops tokens on the way: images (B, 3, S, S) -> logits (B, classes).

    It takes over the modules and parameters of a built timm model, so its state dict has timm's names and loads back
    into timm's own model; `reducer="none", cache=False, head="linear"` computes what timm computes, bit for bit.

    Args:
        vit: a supported timm model (see `backbones.unsupported`); its modules are shared, not copied. Without a class
            token it takes the reducers that do not score tokens by its attention, no cache and the linear head.
        reducer, keep_rate, reduction_layers, cache, head: as in `ufgir.create_model`.

    Raises:
        ValueError: an option is out of its range; the message says what is allowed.
        UserError: parts that do not go together.
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
        self.reduction_layers = layers = tuple(int(layer) for layer in reduction_layers)
        if not layers or list(layers) != sorted({*layers} & {*range(depth)}):
            raise ValueError(f"reduction_layers={list(layers)}: give ascending blocks of 0 to {depth - 1}, each once.")
        self._reducer, self._head = resolve_reducer(reducer), resolve_head(head)
        self._check_parts(cache_with is not None)
        self.cache = None
        if cache_with is not None:
            recovery = {*layers, *([depth - 2] if cache_with.pop("recover_at_last") else [])}
            embed_position = self.pos_embed is not None and not self.no_embed_class
            self.cache = CrossLayerCache(self.cls_token, recovery, embed_position, **cache_with)
        kind, options = self._reducer
        self.keep_rates = stage_keep_rates(keep_rate if kind else 1.0, len(layers))
        stages = self._stages(self.keep_rates).items()
        self.reducers = nn.ModuleDict({key: kind(stage, **options) for key, stage in stages if stage.keep_rate < 1})
        self.collected_layers: tuple[int, ...] = ()
        if self._head[0] is not None:
            self.collected_layers = tuple(sorted({*layers, depth - 1}))
            self.norm = self.fc_norm = nn.Identity()  # dead parameters would break DDP
            self.head = self._make_head(self.num_classes)
        self._like_backbone(nn.ModuleList(part for part in (self.reducers, self.cache) if part is not None))
        self._losses: tuple[Tensor, ...] = ()
        self._warn(stacklevel=4)

    def _check_parts(self, has_cache: bool) -> None:
        """Refuse what needs a class token where there is none, and masks where the pooling cannot heed them."""
        kind, messages, none = self._reducer[0], [], "This backbone has no class token."
        if not self.has_class_token:
            if kind is not None and kind.needs_class_token:
                others = ", ".join(name for name, other in REDUCERS.items() if not other.needs_class_token)
                messages.append(f"{none} reducer={reducer_name(kind)} scores tokens by its attention; choose {others}.")
            if has_cache:
                messages.append(f"{none} cache: its CLR tokens start from it; choose cache=False (plugins=base).")
            if self._head[0] is not None:
                messages.append(f"{none} head: only linear works, the others read class tokens (plugins=base).")
        if kind is not None and kind.masks_tokens and self.global_pool == "map":
            name = reducer_name(kind)
            messages.append(f"reducer={name} masks tokens, which global_pool=map would read; choose tome or dpcknn.")
        if messages:
            raise UserError(*messages)

    def _stages(self, rates: tuple[float, ...]) -> dict[str, Stage]:
        """The stage of each reduction layer, by the key of its reducer; none without a reducer."""
        layers = self.reduction_layers if self._reducer[0] is not None else ()
        patches, cached = self.patch_embed.num_patches, self.cache is not None
        return {str(layer): Stage(s, rates, patches, self.embed_dim, cached) for s, layer in enumerate(layers)}

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
        rates, created = stage_keep_rates(keep_rate, len(self.reduction_layers)), {}
        stages = self._stages(rates)
        if kind is None and set(rates) != {1.0}:
            raise ValueError(f"keep_rate={keep_rate}: this model has reducer=none, which keeps every token.")
        for layer, stage in stages.items():
            if stage.keep_rate == 1:
                continue
            with torch.device("meta"):
                wanted = {name: value.shape for name, value in kind(stage, **options).state_dict().items()}
            found = self.reducers[layer].state_dict() if layer in self.reducers else {}
            if wanted != {name: value.shape for name, value in found.items()}:
                raise ValueError(
                    f"keep_rate={keep_rate}: reducer={reducer_name(kind)} has other weights for it at layer {layer}, "
                    "or none where it was built at keep_rate=1. Build a model with this keep rate and train it."
                )
            if layer not in self.reducers:
                created[layer] = stage
        for layer, reducer in self.reducers.items():
            reducer.set_stage(stages[layer])
        for layer, stage in created.items():
            self.reducers[layer] = self._like_backbone(kind(stage, **options))
        self.keep_rates = rates
        self._warn(stacklevel=3)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one, of the same kind, in the backbone's device, precision and mode.

        With `num_classes=0` the model returns features (B, width). `global_pool` is timm's way of pooling, for the
        linear head; None: unchanged.

        Raises:
            ValueError: a way of pooling that this model does not support.
        """
        reads_cls = self._head[0] is not None
        missing = {"token": not self.has_class_token, "map": self.attn_pool is None}
        allowed = [self.global_pool] if reads_cls else [pool for pool in ("", *POOLS) if not missing.get(pool)]
        if global_pool is not None and global_pool not in allowed:
            raise ValueError(f"global_pool={global_pool!r}: this model takes {', '.join(map(repr, allowed))}.")
        if reads_cls:
            self.num_classes, self.head = num_classes, self._make_head(num_classes)
        else:
            super().reset_classifier(num_classes, global_pool)
            self._like_backbone(self.head)

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
        run = partial(checkpoint, run_block, use_reentrant=False) if is_checkpointing else run_block
        for layer, block in enumerate(self.blocks):
            output = run(block, tokens, reducers.get(layer))
            tokens = output.tokens
            if observe is not None:
                observe(output)
            if cache is not None:
                tokens = cache.after_block(layer, tokens, cached)
            if layer in collected_layers:
                collected.append(tokens.x[:, 0])
        if tokens.losses or self._losses:  # otherwise nothing is assigned, as a model for export must not
            self._losses = tokens.losses
        if collected:
            return torch.stack(collected, dim=-1)
        x, present = self.norm(tokens.x), tokens.token_weight
        if present is None or self.global_pool != "avg":
            return x
        # Weights with which timm's mean over all tokens becomes one over those that are present.
        present = present[:, tokens.prefix :, None].to(x.dtype)  # (B, n, 1)
        present = present * present.shape[1] / present.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.cat((x[:, : tokens.prefix], x[:, tokens.prefix :] * present), dim=1)

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

        With `sources` it has the weight of each original patch in each token, `Tokens.source` (B, N, P).
        """
        sequences: list[Tokens] = []
        with evaluating(self):
            self.forward_features(images, lambda output: sequences.append(output.tokens), sources=sources)
        return sequences

    def tokens_after_block(self, images: Tensor) -> list[int]:
        """Valid tokens that leave each block in evaluation, prefix and CLR included, of the image with most of them."""
        traced = self.trace(images)
        return [t.x.shape[1] if t.valid is None else int(t.valid.sum(dim=1).max()) for t in traced]

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
