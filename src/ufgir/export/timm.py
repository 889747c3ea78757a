"""timm: the part of the weights that its own model shares with ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import save
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from ufgir.errors import RunFailed
from ufgir.export.check import Job, describe, preprocessing
from ufgir.models import ReducedViT
from ufgir.utils import write_json

LEFT_OUT = {
    "cache.": "the CLR tokens of the cross-layer cache",
    "head.": "the classifier, an aggregation head that reads several blocks: timm's model of this file has none",
    "reducers.": "what the reducer learned",
}  # prefixes of our parameters that timm's model lacks


def write_timm(job: Job, file: Path) -> list[str]:
    """Write weights that timm's model of the same name loads, and how to make that model; load them into it.

    Without reducer, cache and aggregation head it must compute the same, within the tolerance. Otherwise what the file
    lacks is named, and how far its answers are from ours.

    Returns:
        lines for the user.

    Raises:
        RunFailed: timm does not take the file, or computes something else where it should compute the same.
    """
    content = timm_config(job)
    empty = build(content)
    ours, theirs = job.model.state_dict(), empty.state_dict()
    weights = {name: ours.get(name, value).contiguous() for name, value in theirs.items()}
    file.write_bytes(save(weights, metadata={"format": "pt"}))
    write_json(file.with_name("config.json"), content)
    try:
        loaded = build(content, checkpoint_path=str(file)).eval()
    except RuntimeError as error:
        raise RunFailed(f"timm {timm.__version__} does not take the file; nothing was written. {error}") from error
    lines = differences(job.model, theirs)
    if content["num_classes"]:
        is_same = not job.model.reducers and job.model.cache is None
        comparison = job.compare(loaded, "timm's model" if is_same else None)
        lines.append(f"timm's model, which keeps all tokens, against ours on {describe(comparison)}")
    arguments = {"num_classes": content["num_classes"], **content["model_args"], "checkpoint_path": file.name}
    shown = ", ".join([repr(content["architecture"]), *(f"{name}={value!r}" for name, value in arguments.items())])
    return [*lines, f"use: timm.create_model({shown})"]


def differences(model: ReducedViT, theirs: Mapping[str, Tensor]) -> list[str]:
    """A line for each part of the model that timm's lacks, and for what is untrained in timm's."""
    ours = model.state_dict()
    lines = []
    for prefix, part in LEFT_OUT.items():
        if count := sum(name.startswith(prefix) and name not in theirs for name in ours):
            lines.append(f"not in the file: {part} ({prefix}*, {count} tensors)")
    # Most reducers, and a cache of mean tokens alone, have no weights that would show it.
    if model.reducers:
        lines.append("the reducer is left out: timm keeps every token")
    if model.cache is not None:
        lines.append("the cross-layer cache is left out: timm's blocks see no tokens of earlier ones")
    if new := [name for name in theirs if name not in ours]:
        lines.append(f"untrained in the file, as our head does without: {', '.join(new)}")
    return lines


def timm_config(job: Job) -> dict[str, Any]:
    """What timm needs to make the model, as the `config.json` that it reads from a folder or the Hub."""
    config, about = job.trained.config, preprocessing(job.trained)
    classes = len(job.trained.class_names) if config.plugins.head.get("name") == "linear" else 0
    size = config.image_size
    return {
        "architecture": config.backbone.name.split(".")[0],
        "num_classes": classes,
        "num_features": job.model.num_features,
        "model_args": {**config.backbone.kwargs, "img_size": size},
        "pretrained_cfg": {
            "num_classes": classes,
            "input_size": [3, size, size],
            "fixed_input_size": True,
            "interpolation": about["interpolation"],
            "crop_pct": size / about["resize"],
            "crop_mode": "squash",
            "mean": about["mean"],
            "std": about["std"],
            "label_names": about["class_names"],
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
        "preprocessing": about["steps"],
        "weights_sha256": about["weights_sha256"],
    }


def build(content: Mapping[str, Any], **options: str) -> VisionTransformer:
    """timm's model of a `config.json`."""
    return timm.create_model(
        content["architecture"], num_classes=content["num_classes"], **content["model_args"], **options
    )
