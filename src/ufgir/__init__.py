"""ufgir: ultra-fine-grained image recognition with token reduction in vision transformers (CLCA, arXiv 2501.00243)."""

import importlib
from typing import Any

_HOMES = {
    "ImageDataModule": "ufgir.data",
    "LitClassifier": "ufgir.training.module",
    "convert_authors_state_dict": "ufgir.models",
    "count_macs": "ufgir.models",
    "create_model": "ufgir.models",
    "load": "ufgir.training.trained",
    "wrap": "ufgir.models",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    # Imported on use: torch, timm and Lightning take seconds, and most commands' --help needs none of them.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
