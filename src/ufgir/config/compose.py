"""From the words of a command line to a composed, checked config."""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from functools import reduce
from operator import getitem
from typing import TypeVar

import yaml
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ufgir.config.arguments import read_arguments
from ufgir.config.base import SEPARATE, Base, assembled, composed_whole
from ufgir.config.checks import check
from ufgir.config.messages import Faults
from ufgir.config.overrides import choice_fault, is_choice, meant_by, setting_fault
from ufgir.errors import first_line
from ufgir.resources import conf_dir, search_path

DATA = (
    "dataset.name", "dataset.format", "dataset.root", "dataset.images", "dataset.expected", "dataset.render",
    "dataset.val_fraction", "dataset.test_fraction", "seed", "protocol", "optim.batch_size",
)  # fmt: skip  # what the checks of the data read
FAILURES = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)  # of composing


Composed = TypeVar("Composed")


def compose_run(overrides: Sequence[str]) -> tuple[dict | None, list[str]]:
    """Compose the config of one run and find all its faults. No data are read and nothing is written.

    Args:
        overrides: words of the command line such as `keep_rate=0.1`, without the options of the program.

    Returns:
        the config as plain Python, its interpolations resolved, and a sentence or two for each fault. If there are
        faults, the config is what remains without the overrides involved: sound, and good for finding the faults of its
        data, but not the run that was meant. It is None if the faults leave open which data those are.
    """
    faults = Faults()
    typed = read_arguments(overrides, faults)
    config = _compose_existing(typed, faults)
    if config is not None:
        check(config, faults)
    if faults.texts:
        in_doubt = faults.touch(*DATA) or faults.involve(*DATA)
        config = None if in_doubt else _compose_sound(typed, faults)
    return config, faults.texts


def _compose_existing(typed: Iterable[Override], faults: Faults) -> dict | None:
    """The config of those overrides whose names exist. The choices come first: they decide which settings there are."""
    choices = [override for override in typed if is_choice(override)]
    settings = [override for override in typed if not is_choice(override)]
    choices = _without_faults(choices, faults, choice_fault)
    base = _composed(_choose, choices, faults)
    if base is None:
        return None
    settings = _without_faults(settings, faults, lambda setting: setting_fault(setting, base.plain))
    return _composed(lambda settings: _set(base, settings), settings, faults)


def _compose_sound(typed: Iterable[Override], faults: Faults) -> dict | None:
    """The config of those overrides that had no part in a fault, if that is sound."""
    config = _compose_existing([override for override in typed if not faults.involve(override.key_or_group)], Faults())
    check(config, remaining := Faults())
    return None if remaining.texts else config


def _without_faults(
    overrides: Iterable[Override], faults: Faults, fault_of: Callable[[Override], str | None]
) -> list[Override]:
    """The overrides without a fault; the faults of the others are noted."""
    sound = []
    for override in overrides:
        if text := fault_of(override):
            key = override.key_or_group
            faults.add(f"{override.input_line}: {text}", key, *meant_by(key))
        else:
            sound.append(override)
    return sound


def _composed(
    function: Callable[[list[Override]], Composed], overrides: list[Override], faults: Faults
) -> Composed | None:
    """What `function` makes of those overrides with which it does not fail, or None if it fails with these too."""
    config, failure = _try(function, overrides)
    if failure:
        overrides = _without_faults(overrides, faults, lambda override: _try(function, [override])[1])
        config, failure = _try(function, overrides)
    if failure:
        faults.add(f"the config cannot be composed: {failure}", *DATA)
    return config


def _try(
    function: Callable[[list[Override]], Composed], overrides: list[Override]
) -> tuple[Composed | None, str | None]:
    """What `function` makes of overrides, or why it fails, in one line."""
    try:
        return function(overrides), None
    except FAILURES as error:
        return None, f"{first_line(error)}."


def _choose(choices: Iterable[Override]) -> Base:
    """The config of choices from groups."""
    choices = list(choices)
    lines = tuple(choice.input_line for choice in choices)
    reach_beyond = any(choice.key_or_group not in SEPARATE or choice.is_delete() for choice in choices)
    return (composed_whole if reach_beyond else assembled)(conf_dir(), (*lines, *search_path()))


def _set(base: Base, settings: Iterable[Override]) -> dict:
    """The resolved config of a base and of settings whose names are known to exist, or may be added."""
    settings = list(settings)
    if all(_stands_alone(override, base) for override in settings):
        config = deepcopy(base.resolved)
        for override in settings:
            *parents, name = override.key_or_group.split(".")
            reduce(getitem, parents, config)[name] = override.value()
        return config
    config = deepcopy(base.config)
    OmegaConf.set_struct(config, False)
    for override in settings:
        key = override.key_or_group
        if override.is_delete():
            parent, _, name = key.rpartition(".")
            del OmegaConf.select(config, parent)[name]
        else:
            OmegaConf.update(config, key, override.value())
    return OmegaConf.to_container(config, resolve=True)


def _stands_alone(override: Override, base: Base) -> bool:
    """Whether a setting may be replaced once interpolations are resolved: none of them reads it, and it has none."""
    key, value = override.key_or_group, override.value()
    if override.is_delete() or isinstance(value, dict) or "${" in str(value) or key not in base.leaves:
        return False
    return not any(key == read or key.startswith(f"{read}.") for read in base.read)
