"""What a trained model was tested on, if that can still be found."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ufgir.data import Source, collect
from ufgir.data.tables import read_tables
from ufgir.runs.folder import RunFolder
from ufgir.runs.trained import Trained


def tested_source(config: Mapping[str, Any], folder: RunFolder | None) -> tuple[Source | None, list[str]]:
    """The data set of a configuration; with the folder of a run, the very tables of that run.

    Returns:
        the source and no fault, or None and a sentence for each fault.
    """
    source, faults = collect(config["dataset"], protocol=config["protocol"], seed=config["seed"])
    if source is None or folder is None:
        return source, faults
    tables, faults = read_tables(folder.splits)
    return (None if faults else replace(source, tables={**source.tables, **tables})), faults


def tested_images(trained: Trained) -> dict[Path, int]:
    """Class id by absolute path of the test images of a run; empty if its data set is no longer where it was."""
    source, _ = tested_source(trained.config, trained.folder)
    return {} if source is None else source.test_classes()
