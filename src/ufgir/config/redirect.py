"""Other data for settings that exist already, such as those of a weights file."""

from collections.abc import Mapping
from copy import deepcopy

from ufgir.config.compose import compose_run
from ufgir.config.messages import typed
from ufgir.config.settings import resolve

DATA_WORDS = ("dataset", "dataset.root", "dataset.images", "dataset.resize", "protocol")


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
    # The settings that a fault of the data may depend on.
    backbone = config["backbone"]
    around = [
        f"backbone.name={backbone['name']}",
        "backbone.pretrained=false",
        typed("+backbone.kwargs", backbone["kwargs"]),
        typed("image_size", config["image_size"]),
        typed("reduction_layers", config["reduction_layers"]),
    ]
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
