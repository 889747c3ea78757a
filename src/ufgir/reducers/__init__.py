"""Token reducers: one file each, tensor algorithms that know nothing of a model.

A reducer of your own is a subclass of `Reducer` in any importable module; pass the class itself, or its path as
`_target_`.
"""

from collections.abc import Mapping
from typing import Any

from ufgir.reducers.ats import ATS
from ufgir.reducers.base import PLACES, BlockAttention, Reducer, relative_budget, resolve_part
from ufgir.reducers.dpcknn import DPCKNN
from ufgir.reducers.dyvit import DyViT
from ufgir.reducers.evit import EViT
from ufgir.reducers.patchmerger import PatchMerger
from ufgir.reducers.sit import SiT
from ufgir.reducers.tokens import Assignment, Keep, KeepAndFuse, Merge, Mix, Stage, Tokens
from ufgir.reducers.tome import ToMe
from ufgir.reducers.topk import TopK

REDUCERS: dict[str, type[Reducer]] = {
    "topk": TopK, "evit": EViT, "tome": ToMe, "ats": ATS, "dyvit": DyViT, "dpcknn": DPCKNN, "sit": SiT,
    "patchmerger": PatchMerger,
}  # fmt: skip


def resolve_reducer(reducer: str | Mapping | type[Reducer]) -> tuple[type[Reducer] | None, dict[str, Any]]:
    """The class of a reducer and its own options; the class is None for `none`.

    Args:
        reducer: a name, a mapping of `name` or `_target_` and options (`keep_rate` is ignored), or a class.

    Raises:
        ValueError: an unknown name or option, or a class that is no reducer.
    """
    if isinstance(reducer, Mapping):
        reducer = {key: value for key, value in reducer.items() if key != "keep_rate"}
    kind, options = resolve_part("reducer", reducer, {"none": None, **REDUCERS}, Reducer, positional=1)
    if kind is not None and (kind.place() is None or kind.num_kept is Reducer.num_kept):
        raise ValueError(f"reducer={kind.__name__}: define num_kept and one of {', '.join(PLACES)}.")
    return kind, options


def reducer_name(kind: type[Reducer] | None) -> str:
    """The name of a reducer: ours if it has one, else that of the class."""
    ours = {known: name for name, known in REDUCERS.items()}
    return "none" if kind is None else ours.get(kind, kind.__name__)


__all__ = [
    "ATS", "DPCKNN", "REDUCERS", "Assignment", "BlockAttention", "DyViT", "EViT", "Keep", "KeepAndFuse", "Merge", "Mix",
    "PatchMerger", "Reducer", "SiT", "Stage", "ToMe", "Tokens", "TopK", "reducer_name", "relative_budget",
    "resolve_reducer",
]  # fmt: skip
