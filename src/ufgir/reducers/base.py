"""What a token reducer is: one module for each reduction layer that turns a sequence into a shorter one."""

import inspect
import math
from collections.abc import Mapping
from typing import Any, Protocol

from hydra.utils import get_object
from torch import Tensor, nn

from ufgir.errors import UserError, did_you_mean, summarize
from ufgir.reducers.tokens import Keep, Stage, Tokens

PLACES = ("before_block", "select_queries", "after_attention")


class BlockAttention(Protocol):
    """What a reducer may ask of the self-attention of its block.

    Attributes:
        keys: (B, H, N, D).
        values: (B, H, N, D).
    """

    keys: Tensor
    values: Tensor

    def cls_attention(self) -> Tensor:
        """Attention of the class token to every token, softmaxed for each head (B, H, N)."""


class Reducer(nn.Module):
    """Shortens the sequence at one layer. A subclass defines `num_kept` and one of the three places to act.

    Its constructor takes the stage and any options of its own by keyword.

    Args:
        stage: where it acts: keep rates, patches and width.
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

    @property
    def place(self) -> str:
        """Which of the three places it acts at."""
        return next(place for place in PLACES if getattr(type(self), place) is not getattr(Reducer, place))

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

    def extra_repr(self) -> str:
        return f"keep_rate={self.stage.keep_rate}"


def relative_budget(tokens: int, keep_rate: float) -> int:
    """ceil(keep_rate * tokens), at least 1."""
    return max(1, math.ceil(keep_rate * int(tokens)))  # when fvcore traces, sizes are float32 tensors in arithmetic


def cls_scores(tokens: Tokens, attention: BlockAttention) -> Tensor:
    """Attention of CLS to the tokens of the body, mean over heads (B, n)."""
    return attention.cls_attention().mean(dim=1)[:, tokens.prefix :]


def resolve_part(
    key: str, part: str | Mapping | type, known: Mapping[str, type | None], *, positional: int, ignored: tuple = ()
) -> tuple[type | None, dict[str, Any]]:
    """The class and the options of a replaceable part of a model.

    Args:
        key: what messages call it, such as `reducer`.
        part: a name in `known`, a mapping of `name` or `_target_` and options, or a class.
        known: classes by name; None where a name stands for no part at all.
        positional: how many arguments the model itself passes to the class.
        ignored: further keys of a mapping that are no options.

    Raises:
        ValueError: an unknown name or option; the message says which there are.
        UserError: a `_target_` that cannot be imported or is not a class.
    """
    options = dict(part) if isinstance(part, Mapping) else {}
    name, target = options.pop("name", None), options.pop("_target_", None)
    if isinstance(part, type):
        target = part
    elif not isinstance(part, Mapping):
        name = part
    if isinstance(target, str):
        try:
            target = get_object(target)
        except Exception as error:  # a module of the user's own may fail in any way
            raise UserError(f"{key}._target_={target}: cannot be imported ({summarize(error)}).") from error
    if target is not None and not isinstance(target, type):
        raise UserError(f"{key}._target_={part['_target_']}: expected a class.")
    if target is None:
        if name not in known:
            names = ", ".join(known)
            raise ValueError(f"{key}={name!r}: choose one of {names}.{did_you_mean(name, known)}")
        target = known[name]
    for word in ignored:
        options.pop(word, None)
    parameters = [] if target is None else list(inspect.signature(target).parameters.values())
    allowed = [parameter.name for parameter in parameters[positional:] if parameter.kind != parameter.VAR_KEYWORD]
    takes_any = any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters)
    if not takes_any and (unknown := [option for option in options if option not in allowed]):
        label = name or target.__name__
        raise ValueError(
            f"{key}={label}: unknown option {', '.join(map(str, unknown))}; it has {', '.join(allowed) or 'none'}."
        )
    return target, options
