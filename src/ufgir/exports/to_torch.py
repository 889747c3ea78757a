"""`torch.export`: a graph that PyTorch loads without this package."""

from pathlib import Path

import torch

from ufgir.exports.about import PREPROCESSING, preprocessing
from ufgir.exports.comparison import compare, require
from ufgir.exports.graph import quiet_export, trace_graph
from ufgir.exports.job import Job, write_json


def write_torchexport(job: Job, file: Path) -> list[str]:
    """Write the model's graph and its preprocessing; load the file back and check it.

    Returns:
        what there is to say about it.

    Raises:
        RunFailed: the model cannot be written as a graph, or the file computes something else.
    """
    graph = trace_graph(job.model, job.examples.images, job.reducer)
    with quiet_export():
        with file.open("wb") as stream:  # a path would be written by torch itself, which keeps to itself why it cannot
            torch.export.save(graph, stream)
        loaded = torch.export.load(file).module()
    comparison = compare(job.model, loaded, job.examples)
    require(comparison, job.tolerance, f"the graph of a model with reducer={job.reducer}")
    facts = {"model": file.name, **preprocessing(job.trained), "check": comparison.as_json()}
    write_json(file.with_name(PREPROCESSING), facts)
    return [
        f"the file loaded back on {comparison}",
        f'use: torch.export.load("{file.name}").module()(images), images as preprocessing.json says',
    ]
