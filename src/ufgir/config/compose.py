"""From the words of a command line to a composed, checked config."""

from collections.abc import Callable, Iterable

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

DATA = ("dataset", "seed", "protocol", "image_size", "optim.batch_size", "trainer.accumulate_grad_batches")
FAILURES = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)  # of composing


def compose_run(overrides: list[str]) -> tuple[DictConfig | None, list[str]]:
    """Compose the config of one run and find all its faults. Reads nothing but `conf/`, and writes nothing.

    Args:
        overrides: words of the command line such as `keep_rate=0.1`, without the options of the program.

    Returns:
        the config, its interpolations resolved, and a sentence or two for each fault. Only without a fault is it the
        config of a run. With faults it serves to find those of the data too, or is None if it leaves open which data
        those are.
    """
    faults = Faults()
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        config = _compose_sound_part(read_arguments(overrides, faults), faults)
    if config is not None:
        check(as_plain(config), faults)
    return (None if faults.touch(*DATA) else config), faults.texts


def _compose_sound_part(typed: list[Override], faults: Faults) -> DictConfig | None:
    """The config of those overrides that have no fault. The choices come first: they decide what else can be set."""
    choices = _select([o for o in typed if is_choice(o)], choice_fault, faults)
    config, choices = _compose([], choices, faults)
    if config is None:
        return None
    base = OmegaConf.to_container(config)
    settings = _select([o for o in typed if not is_choice(o)], lambda o: setting_fault(o, base), faults)
    return _compose(choices, settings, faults)[0]


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
    """Compose `given` and `further`, leaving out those of `further` that cannot be; the config, and what is in it."""
    failure = _failure([*given, *further])
    if failure:
        failures = [(override, _failure([*given, override])) for override in further]
        for override, text in failures:
            if text:
                faults.add(f"{override.input_line}: {text}", override.key_or_group)
        sound = [override for override, text in failures if not text]
        if len(sound) == len(further) or _failure([*given, *sound]):
            faults.add(f"the config cannot be composed: {failure}", *DATA)
            return None, given
        further = sound
    return _composed([*given, *further]), [*given, *further]


def _failure(overrides: list[Override]) -> str | None:
    """Why overrides cannot be composed, in one line, or None if they can."""
    try:
        _composed(overrides)
    except FAILURES as error:
        return f"{str(error).strip().splitlines()[0].rstrip('.')}."
    return None


def _composed(overrides: list[Override]) -> DictConfig:
    config = compose("train", [override.input_line for override in overrides])
    OmegaConf.resolve(config)
    return config
