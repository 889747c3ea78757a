"""The model card: what the model is, what was measured, the command that makes it, and how to use it."""

import shlex
from collections.abc import Mapping
from typing import Any

import timm
from huggingface_hub import EvalResult, ModelCardData

from ufgir.config.identity import axes
from ufgir.config.retyped import ROOT, words_for
from ufgir.runs.trained import Trained

TAGS = ("image-classification", "fine-grained", "vision-transformer", "token-reduction")
PAPER = "https://arxiv.org/abs/2501.00243"

TEXT = """---
{metadata}
---

# {title}

{classes} classes, images of {size} x {size} pixels: {backbone} with the token reducer `{reducer}` at keep rate
{keep_rate} and the plug-ins `{plugins}`, after [Cross-Layer Cache Aggregation for Token Reduction in Ultra-Fine-Grained
Image Recognition]({paper}), trained with ufgir on {dataset}{start}.

## Measured

{numbers}

## Use

With ufgir installed:

```python
import torch
import ufgir
from PIL import Image

classifier = ufgir.load("hf-hub:{repository}")
with torch.inference_mode():
    logits = classifier.model(classifier.transform(Image.open("leaf.jpg"))[None])  # (1, {classes})
print(classifier.class_names[logits.argmax()])
```

    python -m ufgir.evaluate checkpoint=hf-hub:{repository}{where}
    python -m ufgir.export checkpoint=hf-hub:{repository} format=onnx

`model.pt` holds weights, settings and class names and is read with `weights_only=True`; `config.json` says the
settings, the classes and how an image is prepared.

## Made by

{command}
"""

ROWS = {
    "test_top1": "test top-1, percent",
    "test_top5": "test top-5, percent",
    "test_loss": "test loss",
    "test_images": "test images",
    "gmacs": "GMACs of one image",
    "params_m": "parameters, millions",
    "train_minutes": "minutes of training",
    "images_per_second": "images per second in the test pass",
    "peak_memory_gb": "memory at most, GB",
}


def model_card(trained: Trained, results: Mapping[str, Any], repository: str, license_id: str) -> str:
    """The text of a repository's README.md.

    Args:
        trained: the model, with the settings that may be shown.
        results: what its run measured; empty if that is not known.
        repository: `USER/NAME`.
        license_id: of the weights, as the Hub names it.
    """
    config, words = trained.config, axes(trained.config)
    has_place = config["dataset"]["root"] is not None
    return TEXT.format(
        metadata=_metadata(trained, results, repository, license_id).to_yaml(),
        title=repository.partition("/")[2],
        classes=len(trained.class_names),
        size=config["image_size"],
        backbone=f"`{words['backbone']}`",
        reducer=words["reducer"],
        keep_rate=words["keep_rate"],
        plugins=words["plugins"],
        paper=PAPER,
        dataset=f"`{words['dataset']}`",
        start=" from pretrained weights" if _is_pretrained(config) else " from random weights",
        numbers=_numbers(config, results),
        repository=repository,
        where="" if has_place else f" dataset={config['dataset']['format']} dataset.root={ROOT}",
        command=_command(config, results),
    )


def _metadata(trained: Trained, results: Mapping[str, Any], repository: str, license_id: str) -> ModelCardData:
    config, words = trained.config, axes(trained.config)
    plugins = [] if words["plugins"] == "base" else [words["plugins"]]
    source = timm.models.get_pretrained_cfg(config["backbone"]["name"]) if config["backbone"]["pretrained"] else None
    return ModelCardData(
        license=license_id,
        library_name="ufgir",
        pipeline_tag="image-classification",
        tags=[*TAGS, words["reducer"], *plugins],
        metrics=["accuracy"],
        base_model=source.hf_hub_id if source is not None and source.hf_hub_id else None,
        **(_measured(words, results, repository) if results else {}),
    )


def _measured(words: Mapping[str, Any], results: Mapping[str, Any], repository: str) -> dict[str, Any]:
    """The test accuracy in the form in which the Hub lists and compares it, as a share."""
    top1 = EvalResult(
        task_type="image-classification",
        dataset_type=words["dataset"],
        dataset_name=words["dataset"],
        dataset_split="test" if words["protocol"] == "test" else "validation",
        metric_type="accuracy",
        metric_name="top-1 accuracy",
        metric_value=round(results["test_top1"] / 100, 6),
    )
    return {"model_name": repository.partition("/")[2], "eval_results": [top1]}


def _is_pretrained(config: Mapping[str, Any]) -> bool:
    return bool(config["backbone"]["pretrained"] or config["backbone"]["checkpoint"])


def _numbers(config: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    if not results:
        return "Nothing is known about these weights: the results of their run were not beside them."
    rows = [f"| {what} | {results[name]:.6g} |" for name, what in ROWS.items() if name in results]
    versions = ", ".join(f"{name} {value}" for name, value in results["versions"].items())
    split = {"test": "the test table, trained on train+val", "val": "the table val, trained on train"}
    return "\n".join(
        ["| | |", "|---|---|", *rows, "", f"On {split[config['protocol']]}; seed {config['seed']}, {versions}."]
    )


def _command(config: dict[str, Any], results: Mapping[str, Any]) -> str:
    words = words_for(config)
    if words is None:
        return "No command of `ufgir.train` makes just these settings; they are in `config.json`."
    line = f"    {shlex.join(['python', '-m', 'ufgir.train', *words])}"
    notes = []
    if f"dataset.root={ROOT}" in words:
        notes.append(f"{ROOT} is the folder of the data.")
    if config["backbone"]["checkpoint"]:
        notes.append("It started from a local file, `backbone.checkpoint`.")
    if results:
        notes.append(
            f"It ends with the weights {results['weights_sha256'][:16]} (SHA-256) on the same device and versions."
        )
    return "\n\n".join([line, *([" ".join(notes)] if notes else [])])
