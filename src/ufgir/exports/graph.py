"""The model as a graph of tensor operations for batches of any size."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ufgir.errors import RunFailed
from ufgir.exports.about import BATCH
from ufgir.models.weights import reason_of


@contextmanager
def quiet_export() -> Iterator[None]:
    """Keep torch's words about its own insides off the screen while it traces and writes; errors pass."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def trace_graph(model: nn.Module, images: Tensor, reducer: str) -> ExportedProgram:
    """Trace a model with `torch.export`.

    Args:
        model: in evaluation mode.
        images: an example (B, 3, S, S); its size is the only one that the graph takes, B may be any.
        reducer: name, for the message.

    Raises:
        RunFailed: it cannot be traced: its reducer branches on values, or its shapes depend on them.
    """
    pair = images[torch.arange(2) % len(images)]  # one image would be taken for a constant
    try:
        with quiet_export(), torch.no_grad():
            return torch.export.export(model, (pair,), dynamic_shapes=({0: Dim(BATCH, min=1)},))
    except Exception as error:  # torch raises dozens of kinds for what it cannot trace
        raise RunFailed(cannot(reducer, "as a graph", error)) from error


def cannot(reducer: str, form: str, error: BaseException) -> str:
    """Why a model cannot be exported, in a sentence that names its reducer."""
    while error.__cause__ is not None:  # torch wraps what happened into advice for its own developers
        error = error.__cause__
    return f"a model with reducer={reducer} cannot be written {form}; nothing was written. {reason_of(error)}."
