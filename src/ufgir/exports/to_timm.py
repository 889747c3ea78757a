"""timm: the part of the weights that its own model shares with ours."""

from pathlib import Path
from typing import Any

import timm
from safetensors.torch import save
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from ufgir.errors import RunFailed
from ufgir.exports.about import preprocessing
from ufgir.exports.comparison import compare, require
from ufgir.exports.job import Job, write_json
from ufgir.models import ReducedViT

CONFIG = "config.json"  # timm's own name


def write_timm(job: Job, file: Path) -> list[str]:
    """Write weights that timm's model of the same name loads, and how to make that model; load them into it.

    Without reducer, cache and aggregation head it computes the same, within the tolerance that is accepted. Otherwise
    what the file lacks is said, and how far its answers are from ours.

    Returns:
        what there is to say about it.

    Raises:
        RunFailed: timm does not take the file, or computes something else where it should compute the same.
    """
    facts = _timm_facts(job)
    twin = _timm_model(facts)
    weights, said = shared_part(job.model, twin)
    file.write_bytes(save(weights, metadata={"format": "pt"}))
    write_json(file.with_name(CONFIG), facts)
    try:
        loaded = _timm_model(facts, checkpoint_path=str(file)).eval()
    except RuntimeError as error:
        raise RunFailed(f"timm {timm.__version__} does not take the file; nothing was written. {error}") from error
    if facts["num_classes"]:
        comparison = compare(job.model, loaded, job.examples)
        if not job.model.reducers and job.model.cache is None:
            require(comparison, job.tolerance, "timm's model")
        said.append(f"timm's model, which keeps all tokens, against ours on {comparison}")
    arguments = {"num_classes": facts["num_classes"], **facts["model_args"], "checkpoint_path": file.name}
    words = ", ".join([repr(facts["architecture"]), *(f"{name}={value!r}" for name, value in arguments.items())])
    return [*said, f"use: timm.create_model({words})"]


def shared_part(model: ReducedViT, twin: VisionTransformer) -> tuple[dict[str, Tensor], list[str]]:
    """The weights of timm's model, ours wherever it has them, and a sentence for each part that has no counterpart."""
    ours, theirs = model.state_dict(), twin.state_dict()
    weights = {name: ours.get(name, value).contiguous() for name, value in theirs.items()}
    parts = {
        "cache.": "the CLR tokens of the cross-layer cache",
        "head.": "the classifier, an aggregation head that reads several blocks: timm's model of this file has none",
        "reducers.": "what the reducer learned",
    }
    left_out = [name for name in ours if name not in theirs]
    counts = {part: sum(name.startswith(part) for name in left_out) for part in parts}
    said = [f"not in the file: {parts[part]} ({part}*, {count} tensors)" for part, count in counts.items() if count]
    # Most reducers, and a cache of mean tokens alone, have no weights that would tell of them.
    if model.reducers:
        said.append("the reducer is left out: timm keeps every token")
    if model.cache is not None:
        said.append("the cross-layer cache is left out: timm's blocks see no tokens of earlier ones")
    if new := [name for name in theirs if name not in ours]:
        said.append(f"untrained in the file, since our head does without: {', '.join(new)}")
    return weights, said


def _timm_facts(job: Job) -> dict[str, Any]:
    """What timm needs to make the model, in the form of the `config.json` that it reads from a folder or the Hub."""
    config, about = job.trained.config, preprocessing(job.trained)
    classes = len(job.trained.class_names) if config["plugins"]["head"]["name"] == "linear" else 0
    size = config["image_size"]
    return {
        "architecture": config["backbone"]["name"].split(".")[0],
        "num_classes": classes,
        "num_features": job.model.num_features,
        "model_args": {**config["backbone"]["kwargs"], "img_size": size},
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


def _timm_model(facts: dict[str, Any], **options: str) -> VisionTransformer:
    return timm.create_model(facts["architecture"], num_classes=facts["num_classes"], **facts["model_args"], **options)
