"""Images and split tables: from files on disk to batches.

`ImageDataModule` is imported on first use, so that checking a data set does not import Lightning.
"""

from typing import TYPE_CHECKING

from ufgir.data.splits import PROTOCOLS, Splits, load_splits, write_splits

if TYPE_CHECKING:
    from ufgir.data.datamodule import ImageDataModule

__all__ = ["PROTOCOLS", "ImageDataModule", "Splits", "load_splits", "write_splits"]


def __getattr__(name: str):
    if name == "ImageDataModule":
        from ufgir.data.datamodule import ImageDataModule

        return ImageDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
