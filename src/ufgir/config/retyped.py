"""The words that make given settings again."""

from collections.abc import Iterator
from typing import Any

from ufgir.config.checks import flatten
from ufgir.config.compose import compose_run
from ufgir.config.identity import NAMELESS, TOLD_ELSEWHERE, WITHOUT_EFFECT, run_hash
from ufgir.config.messages import typed
from ufgir.config.rules import choices
from ufgir.config.settings import resolve
from ufgir.models.backbones import config_name

GROUPS = ("dataset", "backbone", "reducer", "plugins", "augment", "optim")
# Settings that have their right value once others have: asked for last, or they would be told needlessly.
FOLLOWING = ("dataset.resize", "optim.warmup_epochs", "optim.cooldown_epochs")
EARLIER = ("trainer.max_epochs", "backbone.pretrained")
ROOT = "DIR"  # where the data lie is no part of a run


def words_for(config: dict[str, Any]) -> list[str] | None:
    """Words of `python -m ufgir.train` that make the run of these settings, as few as there need be.

    Args:
        config: resolved settings.

    Returns:
        the words, `dataset.root=DIR` among them where the data set has no place of its own; None where no words make
        just these settings, such as those found in a checkpoint of the authors'.
    """
    words = list(_choices(config))
    for passed_over in ((*FOLLOWING, *EARLIER), FOLLOWING, ()):
        fresh = _composed(words)
        if fresh is None:
            return None
        words += _differences(config, fresh, passed_over)
    fresh = _composed(words)
    return words if fresh is not None and run_hash(fresh, "") == run_hash(config, "") else None


def is_named(dataset: str) -> bool:
    """Whether a data set is one that a word stands for, and so has a usual place."""
    return dataset in choices("dataset") and dataset not in NAMELESS


def _choices(config: dict[str, Any]) -> Iterator[str]:
    """A word for each group; what is not among the choices starts from what is most like it."""
    dataset, backbone = config["dataset"], config["backbone"]
    if is_named(dataset["name"]):
        yield f"dataset={dataset['name']}"
    else:
        yield f"dataset={dataset['format']}"
        yield f"dataset.root={ROOT}"
    ours = config_name(backbone["name"], backbone["kwargs"])
    yield f"backbone={ours}" if ours in choices("backbone") else f"backbone.name={ours}"
    for group in GROUPS[2:]:
        if config[group]["name"] in choices(group):
            yield f"{group}={config[group]['name']}"


def _composed(words: list[str]) -> dict[str, Any] | None:
    composed, faults = compose_run(words)
    return None if faults or composed is None else resolve(composed)


def _differences(config: dict[str, Any], fresh: dict[str, Any], passed_over: tuple[str, ...]) -> list[str]:
    """A word for each setting in `config` that is another one in `fresh`, as far as it changes a run."""
    there, words = dict(flatten(fresh)), []
    for key, value in flatten(config):
        parts = key.split(".")
        above = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
        if above & {*WITHOUT_EFFECT, *TOLD_ELSEWHERE, *passed_over}:
            continue
        if key not in there or there[key] != value:
            words.append(("" if key in there else "++") + typed(key, value))
    return words
