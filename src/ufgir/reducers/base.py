"""What a token reducer is: one module for each reduction layer that turns a sequence into a shorter one."""

import inspect
import math
from collections.abc import Mapping
from typing import Any, Protocol

from hydra.utils import get_object
from torch import Tensor, nn

from ufgir.errors import did_you_mean, summarize
from ufgir.reducers.tokens import Keep, Stage, Tokens

PLACES = ("before_block", "select_queries", "after_attention")


class BlockAttention(Protocol):
    """What a reducer may ask of the self-attention of its block."""

    keys: Tensor  # (B, H, N, D)
    values: Tensor  # (B, H, N, D)

    def cls_attention(self) -> Tensor:
        """Attention of the class token to every token, softmaxed for each head (B, H, N)."""


class Reducer(nn.Module):
    """Shortens the sequence at one layer. A subclass defines `num_kept` and one of the three places to act.

    Its constructor takes the `Stage` (keep rates, patches, width) and any options of its own by keyword.
    """

    needs_class_token = False  # whether it scores tokens by the attention of the class token
    masks_tokens = False  # whether dropped tokens may stay in the sequence, masked
    spares_appended = False  # whether it leaves alone what the cache appended

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.set_stage(stage)

    def set_stage(self, stage: Stage) -> None:
        """Take the keep rates of `stage`. Whatever depends on them, apart from weights, is computed here or later."""
        self.stage = stage

    @classmethod
    def place(cls) -> str | None:
        """Which of the three places it acts at."""
        return next((place for place in PLACES if getattr(cls, place) is not getattr(Reducer, place)), None)

    def num_kept(self, tokens: int) -> int:
        """How many tokens of a body of `tokens` go on (at most, where images keep different numbers)."""
        raise NotImplementedError

    def before_block(self, tokens: Tokens) -> Tokens:
        """Act on the tokens that enter the block."""
        return tokens

    def select_queries(self, tokens: Tokens, attention: BlockAttention) -> Keep | None:
        """Select the tokens whose rows of the attention are computed and go on; None: all."""
        return None

    def after_attention(self, tokens: Tokens, attention: BlockAttention) -> Tokens:
        """Act on the tokens between the attention's residual and the MLP."""
        return tokens

    def warning(self) -> str | None:
        """Why this reducer cannot reach the keep rates, and what to do instead; None if it can."""
        return None


def relative_budget(tokens: int, keep_rate: float) -> int:
    """ceil(keep_rate * tokens), at least 1."""
    return max(1, math.ceil(keep_rate * int(tokens)))  # when fvcore traces, sizes are float32 tensors in arithmetic


def resolve_part(
    key: str, part: str | Mapping | type, known: Mapping[str, type | None], base: type, positional: int
) -> tuple[type | None, dict[str, Any]]:
    """The class and the options of a replaceable part of a model.

    Args:
        key: what messages call it, such as `reducer`.
        part: a name in `known`, a mapping of `name` or `_target_` and options, or a class derived from `base`.
        known: classes by name; None where a name stands for no part at all.
        base: class of all such parts.
        positional: how many arguments the model itself passes to the class.

    Raises:
        ValueError: an unknown name or option, or a `_target_` that is no such class; the message says what is allowed.
    """
    options = dict(part) if isinstance(part, Mapping) else {"_target_" if isinstance(part, type) else "name": part}
    name, kind = options.pop("name", None), (target := options.pop("_target_", None))
    if isinstance(target, str):
        try:
            kind = get_object(target)
        except Exception as error:  # a module of the user's own may fail in any way
            raise ValueError(f"{key}._target_={target}: cannot be imported ({summarize(error)}).") from error
    elif target is None:
        if name not in known:
            raise ValueError(f"{key}={name!r}: choose one of {', '.join(known)}.{did_you_mean(name, known)}")
        kind = known[name]
    if kind is not None and not (isinstance(kind, type) and issubclass(kind, base)):
        raise ValueError(f"{key}={target}: expected a subclass of {base.__module__}.{base.__name__}.")
    signature = inspect.signature(kind or (lambda *_: None))
    try:
        signature.bind(*[None] * positional, **options)
    except TypeError as error:
        allowed = ", ".join(list(signature.parameters)[positional:]) or "none"
        raise ValueError(f"{key}={name or kind.__name__}: {error}; its options are {allowed}.") from error
    return kind, options
