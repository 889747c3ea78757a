"""Token reducers: one file each, pure tensor algorithms that know nothing of a model."""

from ufgir.reducers.base import Reducer
from ufgir.reducers.evit import EViT
from ufgir.reducers.topk import TopK

# `conf/reducer/<name>.yaml` <-> `reducers/<name>.py`; `none` is keep rate 1 at every layer and needs no code.
REDUCERS: dict[str, type[Reducer]] = {"evit": EViT, "topk": TopK}

__all__ = ["REDUCERS", "EViT", "Reducer", "TopK"]
