"""The one adapter between timm's VisionTransformer, the token reducers and the plug-ins."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ufgir.models.attention import attend
from ufgir.models.modes import evaluating
from ufgir.models.options import cache_options, head_options, stage_keep_rates
from ufgir.plugins import HEADS, CrossLayerCache
from ufgir.reducers import REDUCERS


class ReducedViT(VisionTransformer):
    """A timm ViT that drops tokens on the way: images (B, 3, S, S) -> logits (B, classes).

    It takes over the modules and parameters of a built timm model, so its state dict has timm's names and loads back
    into timm's own model; `reducer="none", cache=False, head="linear"` computes what timm computes, bit for bit.

    Args:
        vit: a supported timm model (see `backbones.unsupported`); its modules are shared, not copied.
        reducer: `none` or a name of `reducers.REDUCERS`.
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
        reducer: str = "none",
        keep_rate: float | Sequence[float] = 1.0,
        reduction_layers: Sequence[int] = (3, 6, 9),
        cache: bool | dict = False,
        head: str | dict = "linear",
    ) -> None:
        nn.Module.__init__(self)
        # Containers are copied so that a replaced head leaves `vit` as it was; what is in them is shared.
        self.__dict__.update({k: v.copy() if isinstance(v, dict) else v for k, v in vars(vit).items()})
        depth = len(self.blocks)
        self.reduction_layers = _checked_layers(reduction_layers, depth)
        self.reducers = self._make_reducers(reducer, keep_rate)
        self.cache = self._make_cache(cache_options(cache), depth)
        self._replace_head(head_options(head), depth)

    def _make_reducers(self, name: str, keep_rate: float | Sequence[float]) -> nn.ModuleDict:
        """One reducer for each layer whose rate is below 1, keyed by the layer."""
        if name == "none":
            return nn.ModuleDict()
        if name not in REDUCERS:
            raise ValueError(f"reducer={name!r} is not one of none, {', '.join(sorted(REDUCERS))}.")
        rates = stage_keep_rates(keep_rate, len(self.reduction_layers))
        return nn.ModuleDict(
            {
                str(layer): REDUCERS[name](rate, self.num_prefix_tokens)
                for layer, rate in zip(self.reduction_layers, rates, strict=True)
                if rate < 1
            }
        )

    def _make_cache(self, options: dict | None, depth: int) -> CrossLayerCache | None:
        if options is None:
            return None
        recovery = {*self.reduction_layers, *([depth - 2] if options.pop("recover_at_last") else [])}
        embed_position = self.pos_embed is not None and not self.no_embed_class
        return CrossLayerCache(self.cls_token, recovery, self.num_prefix_tokens, embed_position, **options)

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

    def forward_features(self, images: Tensor, observe: Callable[[Tensor, Tensor], None] | None = None) -> Tensor:
        """Images (B, 3, S, S) -> what the head reads: tokens (B, N, C), or class tokens (B, C, G) for cla and ifa.

        Args:
            images: a batch of images.
            observe: called for each block with its input (B, N, C) and its output (B, M, C), before any recovery.
        """
        x = self.patch_drop(self._pos_embed(self.patch_embed(images)))
        cached = None
        if self.cache is not None:
            x, cached = self.cache.begin(x)
        x = self.norm_pre(x)
        collected = []
        for layer in range(len(self.blocks)):
            entering, x = x, self._run_block(layer, x)
            if observe is not None:
                observe(entering, x)
            if self.cache is not None:
                x = self.cache.after_block(layer, x, cached)
            if layer in self.collected_layers:
                collected.append(x[:, 0])
        return torch.stack(collected, dim=-1) if collected else self.norm(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """What `forward_features` returned -> logits (B, classes)."""
        if not self.collected_layers:
            return super().forward_head(x, pre_logits=pre_logits)
        return x if pre_logits else self.head(x)

    def _run_block(self, layer: int, x: Tensor) -> Tensor:
        """Block `layer` on tokens (B, N, C), its reducer included: (B, M, C)."""
        block = self.blocks[layer]
        if str(layer) in self.reducers:
            block = partial(_reduce_in_block, block, self.reducers[str(layer)])
        if self.grad_checkpointing and self.training:
            return checkpoint(block, x, use_reentrant=False)
        return block(x)

    def tokens_after_block(self, images: Tensor) -> list[int]:
        """Tokens that leave each block in evaluation, prefix and CLR included, before any recovery."""
        counts: list[int] = []
        with evaluating(self):
            self.forward_features(images, observe=lambda _, leaving: counts.append(leaving.shape[1]))
        return counts

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that AdamW leaves undecayed besides 1-D ones (timm's convention)."""
        return super().no_weight_decay() | {"cache.clr", "cache.pos_embed"}

    def forward_intermediates(self, *_args, **_kwargs):
        """Not offered: timm's method would bypass the reducers. Use `forward_features(images, observe=...)`."""
        raise NotImplementedError(self.forward_intermediates.__doc__)

    get_intermediate_layers = prune_intermediate_layers = forward_intermediates


def _reduce_in_block(block: nn.Module, reducer: nn.Module, x: Tensor) -> Tensor:
    """timm's pre-norm block with the reducer between its two residuals, so that the MLP sees only what is kept."""
    attended, cls_attention = attend(block.attn, block.norm1(x))
    x = reducer(x + block.drop_path1(block.ls1(attended)), cls_attention)
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))


def _checked_layers(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    layers = tuple(int(layer) for layer in layers)
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 0 or layers[-1] >= depth:
        raise ValueError(f"reduction_layers={list(layers)}: give ascending blocks from 0 to {depth - 1}, each once.")
    return layers
