"""The model as a graph of tensor operations for batches of any size: torch.export, and ONNX made from it."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ufgir.errors import RunFailed, summarize
from ufgir.export.check import Job, describe, preprocessing
from ufgir.utils import write_json

SCRIPT = Path(__file__).with_name("templates") / "classify.py"
CDIST = torch.ops.aten.cdist.default
LARGEST = 1_800_000_000  # bytes of weights in the ONNX file itself: protobuf ends at 2 GiB


def write_torchexport(job: Job, file: Path) -> list[str]:
    """Write the model's graph and its preprocessing; load the file and check it.

    Returns:
        Lines for the user.

    Raises:
        RunFailed: the model has no such graph, or the file computes something else.
    """
    graph = trace(job.model, job.images, job.reducer)
    with quiet():
        with file.open("wb") as stream:  # given a path, torch hides why it cannot write there
            torch.export.save(graph, stream)
        loaded = torch.export.load(file).module()
    comparison = job.compare(loaded, f"the graph of a model with reducer={job.reducer}")
    write_preprocessing(job, file, comparison)
    return [
        f"the file loaded back on {describe(comparison)}",
        f'use: torch.export.load("{file.name}").module()(images), images as preprocessing.json says',
    ]


def write_onnx(job: Job, file: Path) -> list[str]:
    """Write the model, its preprocessing, and a script that classifies with both; check the file with onnxruntime.

    Returns:
        Lines for the user.

    Raises:
        RunFailed: the model cannot be written as ONNX, or onnxruntime computes something else.
    """
    import onnxruntime  # an optional package

    save_onnx(job.model, job.images, file, job.reducer)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    comparison = job.compare(
        lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0]),
        f"the ONNX file of a model with reducer={job.reducer}",
    )
    write_preprocessing(job, file, comparison)
    file.with_name(SCRIPT.name).write_bytes(SCRIPT.read_bytes())
    return [f"onnxruntime against PyTorch on {describe(comparison)}"]


def save_onnx(model: nn.Module, images: Tensor, file: Path, reducer: str) -> None:
    """Write a model as ONNX: `images` (B, 3, S, S) of any B -> `logits` (B, classes).

    Args:
        model: in evaluation mode, on the CPU.
        images: to trace it with.
        reducer: of the model, for the message.

    Raises:
        RunFailed: the model cannot be written as ONNX.
    """
    size = sum(value.nbytes for value in model.state_dict().values())
    graph = trace(model, images, reducer)
    try:
        # Not the older exporter: it freezes the number of ATS's tokens, and ToMe's batch.
        with quiet():
            if any(node.target is CDIST for node in graph.graph.nodes):
                graph = graph.run_decompositions({CDIST: distances})
            program = torch.onnx.export(
                graph, dynamo=True, input_names=["images"], output_names=["logits"], verbose=False
            )
            program.save(file, external_data=size > LARGEST)
    except OSError:  # the disk's, not the model's
        raise
    except Exception as error:  # operations that ONNX or the exporter does not have
        raise export_error(reducer, "as ONNX", error) from error


def trace(model: nn.Module, images: Tensor, reducer: str) -> ExportedProgram:
    """Trace a model with `torch.export`: images (B, 3, S, S) of its own size S and any B -> logits (B, classes).

    Raises:
        RunFailed: it cannot be traced: its reducer branches on values, or its shapes depend on them.
    """
    pair = images[torch.arange(2) % len(images)]  # a batch of one would be taken for a constant
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(model, (pair,), dynamic_shapes=({0: Dim("batch", min=1)},))
    except Exception as error:  # torch raises dozens of types for what it cannot trace
        raise export_error(reducer, "as a graph", error) from error


def export_error(reducer: str, form: str, error: BaseException) -> RunFailed:
    while error.__cause__ is not None:  # torch wraps the error into advice for its own developers
        error = error.__cause__
    reason = summarize(error)
    return RunFailed(f"a model with reducer={reducer} cannot be written {form}; nothing was written ({reason}).")


@contextmanager
def quiet() -> Iterator[None]:
    """Hide what torch says of its own insides while it traces and writes; errors pass."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def distances(x: Tensor, y: Tensor, p: float = 2.0, mode: int | None = None) -> Tensor:
    """`torch.cdist` of (B, n, C) and (B, m, C) in operations that ONNX has: (B, n, m).

    As in torch, sequences of more than 25 go through |x|² - 2 x·y + |y|².
    """
    if max(x.shape[1], y.shape[1]) <= 25:
        return (x.unsqueeze(2) - y.unsqueeze(1)).square().sum(dim=-1).sqrt()
    squares = [values.square().sum(dim=-1, keepdim=True) for values in (x, y)]  # (B, n, 1), (B, m, 1)
    left = torch.cat((-2 * x, squares[0], torch.ones_like(squares[0])), dim=-1)
    right = torch.cat((y, torch.ones_like(squares[1]), squares[1]), dim=-1)
    return (left @ right.transpose(1, 2)).clamp(min=0).sqrt()


def write_preprocessing(job: Job, file: Path, comparison: dict[str, Any]) -> None:
    content = {"model": file.name, **preprocessing(job.trained), "check": comparison}
    write_json(file.with_name("preprocessing.json"), content)
