"""The images that a trained model was tested on, if they can still be found."""

from dataclasses import replace
from pathlib import Path

from ufgir.data import collect
from ufgir.data.tables import read_tables
from ufgir.runs.trained import Trained


def tested_images(trained: Trained) -> dict[Path, int]:
    """Class id by absolute path of the test images of a run; empty if its data set is no longer where it was."""
    config = trained.config
    source, _ = collect(config["dataset"], protocol=config["protocol"], seed=config["seed"])
    if source is None:
        return {}
    if trained.folder is not None:
        tables, faults = read_tables(trained.folder.splits)
        source = source if faults else replace(source, tables=tables)
    return source.test_classes()
