"""From the words of a command line to a composed, checked config."""

from collections.abc import Callable, Iterable, Sequence

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
from ufgir.resources import conf_dir

DATA = (
    "dataset.name", "dataset.format", "dataset.root", "dataset.images", "dataset.expected", "dataset.render",
    "dataset.val_fraction", "dataset.test_fraction", "seed", "protocol", "optim.batch_size",
)  # fmt: skip  # what the checks of the data read
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
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        typed = read_arguments(overrides, faults)
        config = _compose_existing(typed, faults)
        if config is not None:
            check(as_plain(config), faults)
        if faults.texts:
            config = None if faults.touch(*DATA) or faults.involve(*DATA) else _compose_sound(typed, faults)
    return config, faults.texts


def _compose_existing(typed: list[Override], faults: Faults) -> DictConfig | None:
    """The config of those overrides whose names exist. The choices come first: they decide which settings there are."""
    choices = _select([override for override in typed if is_choice(override)], choice_fault, faults)
    config, choices = _compose([], choices, faults)
    if config is None:
        return None
    base = OmegaConf.to_container(config)
    settings = [override for override in typed if not is_choice(override)]
    settings = _select(settings, lambda override: setting_fault(override, base), faults)
    return _compose(choices, settings, faults)[0] if settings else config


def _compose_sound(typed: list[Override], faults: Faults) -> DictConfig | None:
    """The config of those overrides that had no part in a fault, if that is sound."""
    config, _ = _try([override for override in typed if not faults.involve(override.key_or_group)])
    if config is not None:
        check(as_plain(config), remaining := Faults())
        return None if remaining.texts else config
    return None


def _select(
    overrides: Iterable[Override], fault_of: Callable[[Override], str | None], faults: Faults
) -> list[Override]:
    """The overrides without a fault."""
    sound = []
    for override in overrides:
        if text := fault_of(override):
            faults.add(text, override.key_or_group, *meant_by(override.key_or_group))
        else:
            sound.append(override)
    return sound


def _compose(
    given: list[Override], further: list[Override], faults: Faults
) -> tuple[DictConfig | None, list[Override]]:
    """Compose `given` and those of `further` that can be; the config and the overrides in it, or None and `given`."""
    config, _ = _try([*given, *further])
    if config is not None:
        return config, [*given, *further]
    sound = []
    for override in further:
        if text := _try([*given, override])[1]:
            faults.add(f"{override.input_line}: {text}", override.key_or_group)
        else:
            sound.append(override)
    config, failure = _try([*given, *sound])
    if config is None:
        faults.add(f"the config cannot be composed: {failure}", *DATA)
        return None, given
    return config, [*given, *sound]


def _try(overrides: list[Override]) -> tuple[DictConfig | None, str]:
    """The config of `overrides`, or None and the reason in one line."""
    try:
        config = compose("train", [override.input_line for override in overrides])
        OmegaConf.resolve(config)
    except FAILURES as error:
        return None, f"{str(error).strip().splitlines()[0].rstrip('.')}."
    return config, ""
