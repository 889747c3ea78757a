"""Other data, keep rate or image size for settings that exist already, such as those of a weights file."""

from collections.abc import Mapping
from copy import deepcopy

from ufgir.config.compose import compose_run
from ufgir.config.messages import typed
from ufgir.config.settings import default_resize, resolve

DATA_WORDS = ("dataset", "dataset.root", "dataset.images", "dataset.resize", "protocol")
BUDGET_WORDS = ("keep_rate", "image_size")


def with_other_data(config: dict, words: Mapping[str, str]) -> tuple[dict, list[str]]:
    """Settings whose data are those that the user names.

    The side of the resize belongs to the model, which was trained with it: another data set leaves it as it is.

    Args:
        config: resolved settings, left as they are.
        words: values by the words `DATA_WORDS`; others are passed over.

    Returns:
        the settings, and a sentence for each fault of the words; with faults the settings are not to be used.
    """
    given = [word for word in DATA_WORDS if word in words]
    if not given:
        return config, []
    around = [*_backbone_words(config), *(typed(word, config[word]) for word in ("image_size", "reduction_layers"))]
    composed, faults = compose_run([*around, *(f"{word}={words[word]}" for word in given)])
    if faults:
        return config, faults
    fresh, changed = resolve(composed), deepcopy(config)
    if "dataset" in given:
        changed["dataset"] = {**fresh["dataset"], "resize": config["dataset"]["resize"]}
    for word in given:
        if word == "protocol":
            changed["protocol"] = fresh["protocol"]
        elif word != "dataset":
            name = word.removeprefix("dataset.")
            changed["dataset"][name] = fresh["dataset"][name]
    return changed, []


def with_other_budget(config: dict, words: Mapping[str, str]) -> tuple[dict, list[str]]:
    """Settings of the same model at another keep rate or image size.

    The side of the resize keeps its proportion to the image.

    Args:
        config: resolved settings, left as they are.
        words: values by the words `BUDGET_WORDS`, one for each; others are passed over.

    Returns:
        the settings, and a sentence for each fault of the words; with faults the settings are not to be used.
    """
    given = [word for word in BUDGET_WORDS if word in words]
    if not given:
        return config, []
    reducer, size, resize = config["reducer"]["name"], config["image_size"], config["dataset"]["resize"]
    around = [*_backbone_words(config), typed("reduction_layers", config["reduction_layers"]), f"reducer={reducer}"]
    composed, faults = compose_run([*around, *(f"{word}={words[word]}" for word in given)])
    if faults:
        return config, faults
    fresh, changed = resolve(composed), deepcopy(config)
    for word in given:
        changed[word] = fresh[word]
    new = changed["image_size"]
    if new != size:
        changed["dataset"]["resize"] = (
            default_resize(new) if resize == default_resize(size) else max(new, round(resize * new / size))
        )
    return changed, []


def _backbone_words(config: dict) -> list[str]:
    """A backbone as it would be typed; its weights are there already."""
    backbone = config["backbone"]
    kwargs = typed("+backbone.kwargs", backbone["kwargs"])
    return [f"backbone.name={backbone['name']}", "backbone.pretrained=false", kwargs]
