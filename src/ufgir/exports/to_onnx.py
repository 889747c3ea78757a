"""ONNX, for onnxruntime and whatever else reads it."""

from pathlib import Path

import torch
from torch import Tensor

from ufgir.errors import RunFailed
from ufgir.exports.about import INPUT, OUTPUT, PREPROCESSING, preprocessing
from ufgir.exports.comparison import compare, require
from ufgir.exports.graph import cannot, quiet_export, trace_graph
from ufgir.exports.job import Job, write_json

SCRIPT = Path(__file__).with_name("data") / "classify.py"
CDIST = torch.ops.aten.cdist.default
LARGEST = 1_800_000_000  # bytes of weights in the file itself: protobuf ends at 2 GiB


def write_onnx(job: Job, file: Path) -> list[str]:
    """Write the model, its preprocessing and a script that classifies with both; check the file with onnxruntime.

    Returns:
        what there is to say about it.

    Raises:
        RunFailed: the model cannot be written as ONNX, or onnxruntime computes something else.
    """
    size = sum(value.nbytes for value in job.model.state_dict().values())
    graph = trace_graph(job.model, job.examples.images, job.reducer)
    try:
        # Not the exporter before this one: it freezes the number of ATS's tokens, and ToMe's batch.
        with quiet_export():
            if any(node.target is CDIST for node in graph.graph.nodes):
                graph = graph.run_decompositions({CDIST: distances})
            program = torch.onnx.export(graph, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False)
            program.save(file, external_data=size > LARGEST)
    except OSError:  # the disk's, not the model's
        raise
    except Exception as error:  # operations that ONNX or the exporter does not have
        raise RunFailed(cannot(job.reducer, "as ONNX", error)) from error
    comparison = compare(job.model, _session(file), job.examples)
    require(comparison, job.tolerance, f"the ONNX file of a model with reducer={job.reducer}")
    facts = {"model": file.name, **preprocessing(job.trained), "check": comparison.as_json()}
    write_json(file.with_name(PREPROCESSING), facts)
    file.with_name(SCRIPT.name).write_bytes(SCRIPT.read_bytes())
    return [f"onnxruntime against PyTorch on {comparison}"]


def distances(x: Tensor, y: Tensor, p: float = 2.0, mode: int | None = None) -> Tensor:
    """What `torch.cdist` computes of (B, n, C) and (B, m, C), in operations that ONNX has: (B, n, m).

    As there, sequences of more than 25 go through |x|² - 2 x·y + |y|².
    """
    if max(x.shape[1], y.shape[1]) <= 25:
        return (x.unsqueeze(2) - y.unsqueeze(1)).square().sum(dim=-1).sqrt()
    squares = [values.square().sum(dim=-1, keepdim=True) for values in (x, y)]  # (B, n, 1), (B, m, 1)
    left = torch.cat((-2 * x, squares[0], torch.ones_like(squares[0])), dim=-1)
    right = torch.cat((y, torch.ones_like(squares[1]), squares[1]), dim=-1)
    return (left @ right.transpose(1, 2)).clamp(min=0).sqrt()


def _session(file: Path):
    """The file in onnxruntime: images (B, 3, S, S) -> logits (B, classes)."""
    import onnxruntime  # an optional package

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])

    return run
