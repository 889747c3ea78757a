"""Images and tables: from files on disk to batches.

The loaders are in `ufgir.data.datamodule`; they are not imported here, so that checking a data set needs no Lightning.
"""

from ufgir.data.check import image_faults
from ufgir.data.source import PROTOCOLS, Source, collect, load_source
from ufgir.data.tables import SPLITS, Tables, write_tables

__all__ = ["PROTOCOLS", "SPLITS", "Source", "Tables", "collect", "image_faults", "load_source", "write_tables"]
