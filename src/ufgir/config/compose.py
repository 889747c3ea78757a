"""From the words of a command line to a composed, checked config."""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ufgir.config.arguments import read_arguments
from ufgir.config.checks import check
from ufgir.config.messages import Faults
from ufgir.config.overrides import choice_fault, is_choice, meant_by, setting_fault
from ufgir.config.settings import as_plain
from ufgir.resources import conf_dir, search_path

DATA = (
    "dataset.name", "dataset.format", "dataset.root", "dataset.images", "dataset.expected", "dataset.render",
    "dataset.val_fraction", "dataset.test_fraction", "seed", "protocol", "optim.batch_size",
)  # fmt: skip  # what the checks of the data read
# Choices that settle their own group and no other setting, which `experiment` and `debug` do.
SEPARATE = ("dataset", "backbone", "reducer", "plugins", "augment", "optim", "trainer", "logger")
FAILURES = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)  # of composing


def compose_run(overrides: Sequence[str]) -> tuple[DictConfig | None, list[str]]:
    """Compose the config of one run and find all its faults. No data are read and nothing is written.

    Args:
        overrides: words of the command line such as `keep_rate=0.1`, without the options of the program.

    Returns:
        the config, its interpolations resolved, and a sentence or two for each fault. If there are faults, the config
        is what remains without the overrides involved: sound, and good for finding the faults of its data, but not
        the run that was meant. It is None if the faults leave open which data those are.
    """
    faults = Faults()
    typed = read_arguments(overrides, faults)
    config = _compose_existing(typed, faults)
    if config is not None:
        check(as_plain(config), faults)
    if faults.texts:
        in_doubt = faults.touch(*DATA) or faults.involve(*DATA)
        config = None if in_doubt else _compose_sound(typed, faults)
    return config, faults.texts


def _compose_existing(typed: Iterable[Override], faults: Faults) -> DictConfig | None:
    """The config of those overrides whose names exist. The choices come first: they decide which settings there are."""
    choices = [override for override in typed if is_choice(override)]
    settings = [override for override in typed if not is_choice(override)]
    choices = _without_faults(choices, faults, choice_fault)
    base = _composed(_choose, choices, faults)
    if base is None:
        return None
    plain = OmegaConf.to_container(base)
    settings = _without_faults(settings, faults, lambda setting: setting_fault(setting, plain))
    return _composed(lambda settings: _set(base, settings), settings, faults)


def _compose_sound(typed: Iterable[Override], faults: Faults) -> DictConfig | None:
    """The config of those overrides that had no part in a fault, if that is sound."""
    config = _compose_existing([override for override in typed if not faults.involve(override.key_or_group)], Faults())
    check(as_plain(config), remaining := Faults())
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
    function: Callable[[list[Override]], DictConfig], overrides: list[Override], faults: Faults
) -> DictConfig | None:
    """What `function` makes of those overrides with which it does not fail, or None if it fails with these too."""
    config, failure = _try(function, overrides)
    if failure:
        overrides = _without_faults(overrides, faults, lambda override: _try(function, [override])[1])
        config, failure = _try(function, overrides)
    if failure:
        faults.add(f"the config cannot be composed: {failure}", *DATA)
    return config


def _try(
    function: Callable[[list[Override]], DictConfig], overrides: list[Override]
) -> tuple[DictConfig | None, str | None]:
    """What `function` makes of overrides, or why it fails, in one line."""
    try:
        return function(overrides), None
    except FAILURES as error:
        return None, f"{str(error).strip().splitlines()[0].rstrip('.')}."


def _choose(choices: Iterable[Override]) -> DictConfig:
    """The config of choices from groups, unresolved and not to be changed."""
    choices = list(choices)
    lines = tuple(choice.input_line for choice in choices)
    reach_beyond = any(choice.key_or_group not in SEPARATE or choice.is_delete() for choice in choices)
    return _compose_with_hydra(conf_dir(), (*lines, *search_path())) if reach_beyond else _assembled(conf_dir(), lines)


@cache
def _assembled(folder: Path, lines: tuple[str, ...]) -> DictConfig:
    """What Hydra would compose of choices that reach nothing beyond their groups, each of them composed once."""
    config = deepcopy(_compose_with_hydra(folder, tuple(search_path())))
    for line in lines:
        group = line.partition("=")[0]
        config[group] = _compose_with_hydra(folder, (line, *search_path()))[group]
    return config


@cache
def _compose_with_hydra(folder: Path, lines: tuple[str, ...]) -> DictConfig:
    """Hydra takes a tenth of a second for it, and the thousands of runs of a sweep share a few choices."""
    with initialize_config_dir(config_dir=str(folder), version_base="1.3"):
        return compose("train", list(lines))


def _set(base: DictConfig, settings: Iterable[Override]) -> DictConfig:
    """A resolved copy of `base` with settings whose names are known to exist, or may be added."""
    config = deepcopy(base)
    OmegaConf.set_struct(config, False)
    for override in settings:
        key = override.key_or_group
        if override.is_delete():
            parent, _, name = key.rpartition(".")
            del OmegaConf.select(config, parent)[name]
        else:
            OmegaConf.update(config, key, override.value())
    OmegaConf.resolve(config)
    return config
