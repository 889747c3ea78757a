"""From a resolved configuration to its model, module and data."""

from collections.abc import Mapping
from typing import Any

from timm.models.vision_transformer import VisionTransformer

from ufgir.config.machine import uses_cuda
from ufgir.data import Source
from ufgir.data.datamodule import UFGIRData
from ufgir.models import ReducedViT, create_model
from ufgir.training.module import ClassifierModule


def build_model(config: Mapping[str, Any], num_classes: int, *, with_weights: bool = True) -> ReducedViT:
    """The model of a configuration.

    Args:
        config: a resolved configuration.
        num_classes: number of classes.
        with_weights: start from the pretrained or local weights that it names; off when others are loaded anyway.
    """
    backbone, plugins = config["backbone"], config["plugins"]
    return create_model(
        backbone["name"],
        num_classes=num_classes,
        img_size=config["image_size"],
        pretrained=with_weights and backbone["pretrained"],
        checkpoint=backbone["checkpoint"] if with_weights else None,
        backbone_kwargs=backbone["kwargs"],
        reducer={name: value for name, value in config["reducer"].items() if name != "keep_rate"},
        keep_rate=config["keep_rate"],
        reduction_layers=config["reduction_layers"],
        cache=plugins["cache"],
        head=plugins["head"],
    )


def build_module(config: Mapping[str, Any], model: ReducedViT, *, for_test: bool = False) -> ClassifierModule:
    """The LightningModule around `model`.

    Args:
        config: a resolved configuration.
        model: the model.
        for_test: it will only be tested, so its forward pass may be recorded as a CUDA graph.
    """
    words = config["trainer"]
    speed_up(model, words, for_test=for_test)
    return ClassifierModule(
        model, model.num_classes, config["optim"], words["max_epochs"], config["seed"],
        clipped=words["gradient_clip_val"] is not None,
    )  # fmt: skip


def speed_up(model: VisionTransformer, words: Mapping[str, Any], *, for_test: bool) -> None:
    """Compile a model, or let it forget and recompute activations, as the group `trainer` says.

    A forward pass of one image on CUDA waits for the processor that launches it, unless it is replayed as one graph.
    """
    model.set_grad_checkpointing(words["gradient_checkpointing"])
    if words["compile"]:
        replayed = for_test and uses_cuda(words["accelerator"])
        model.compile(mode="reduce-overhead" if replayed else "default")


def build_data(config: Mapping[str, Any], source: Source) -> UFGIRData:
    """The loaders of `source`."""
    return UFGIRData(
        source,
        image_size=config["image_size"],
        resize=config["dataset"]["resize"],
        augment=config["augment"],
        batch_size=config["optim"]["batch_size"],
        num_workers=config["dataset"]["num_workers"],
        cache=config["dataset"]["cache"],
        seed=config["seed"],
        progress=config["trainer"]["progress"],
    )
