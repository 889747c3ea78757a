"""The keep rates and the image size that a trained model is tested at."""

from collections.abc import Mapping
from typing import Any

from ufgir.config import jobs_of
from ufgir.config.redirect import BUDGET_WORDS, with_other_budget, with_other_data
from ufgir.errors import UserError
from ufgir.models import ReducedViT
from ufgir.runs.trained import Trained, on_this_machine


def wanted_settings(trained: Trained, words: Mapping[str, str]) -> list[dict[str, Any]]:
    """The settings of each test, one for each keep rate: those of the training but for what the words change.

    Raises:
        UserError: all faults of the words.
    """
    if "," in (size := words.get("image_size", "")):
        raise UserError(f"image_size={size}: expected one size; only keep_rate= takes several values at once.")
    typed = [f"{word}={words[word]}" for word in BUDGET_WORDS if word in words]
    settings, faults = [], []
    for job in dict.fromkeys(jobs_of(typed)):
        changed, found = _with_budget(trained.config, dict(word.split("=", 1) for word in job))
        config, more = with_other_data(changed, words)
        faults += found + more
        settings.append(config)
    if faults:
        raise UserError(*dict.fromkeys(faults))
    first = on_this_machine(settings[0])
    optim = {**first["optim"], "batch_size": int(words.get("batch_size", first["optim"]["batch_size"]))}
    return [{**config, "trainer": first["trainer"], "optim": optim} for config in settings]


def _with_budget(config: dict, budget: Mapping[str, str]) -> tuple[dict, list[str]]:
    if config["reducer"]["name"] == "none" and budget.get("keep_rate", "1") not in ("1", "1.0"):
        rate = budget["keep_rate"]
        return config, [
            f"keep_rate={rate}: these weights were trained with reducer=none, which keeps every token; leave it out."
        ]
    return with_other_budget(config, budget)


def build_all(trained: Trained, settings: list[dict[str, Any]]) -> list[ReducedViT]:
    """A model for each of the settings; they share the memory of their weights.

    Raises:
        UserError: the reasons of all that cannot be built.
    """
    models, faults = [], []
    for config in settings:
        try:
            models.append(trained.build(config))
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(*faults)
    return models
