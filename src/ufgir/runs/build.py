"""From a resolved configuration to its model, module and data."""

from collections.abc import Mapping
from typing import Any

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


def build_module(config: Mapping[str, Any], model: ReducedViT) -> ClassifierModule:
    """The LightningModule around `model`."""
    if config["trainer"]["compile"]:
        model.compile()
    return ClassifierModule(model, model.num_classes, config["optim"], config["trainer"]["max_epochs"], config["seed"])


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
