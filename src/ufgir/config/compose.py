"""Compose configurations with Hydra, outside of `hydra.main` too, and show its errors to users."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ufgir.config.schema import RunConfig
from ufgir.errors import UserError, did_you_mean, exception_chain
from ufgir.utils import project_dir

# Groups whose files settle their own node. A grid composes each of their choices once.
GROUPS = (
    "dataset", "backbone", "reducer", "plugins", "augment", "optim", "schedule", "callbacks", "trainer", "logger",
    "debug", "experiment", "sweep",
)  # fmt: skip
SEARCH_PATH = "hydra.searchpath="


def load_config(
    overrides: Sequence[str], config_dirs: Sequence[str | Path] = (), *, resources: bool = True
) -> RunConfig:
    """The checked configuration of a command line.

    Args:
        overrides: such as `keep_rate=0.1`.
        config_dirs: further folders with config groups, searched after ours.
        resources: whether the weights that are asked for must be on this machine.

    Raises:
        UserError: with all errors that were found.
    """
    return RunConfig.load(compose(overrides, config_dirs), resources=resources)


def compose(overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> dict[str, Any]:
    """The composed configuration of a command line as plain values, not checked yet. The same as plain Hydra's.

    Choices from groups are composed once and put together afterwards, which makes planning thousands of runs fast.

    Raises:
        UserError: Hydra's errors, in a sentence.
    """
    search = tuple(o for o in overrides if o.startswith(SEARCH_PATH))
    overrides = without_plus(o for o in overrides if not o.startswith(("hydra.", "hydra/")))
    if config_dirs:
        given = ",".join(f"file://{Path(folder).absolute()}" for folder in config_dirs)
        search = (*search, f"{SEARCH_PATH}[{given}]")
    with hydra_errors():
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        if swept := [o.input_line for o in parsed if o.is_sweep_override()]:
            raise UserError(f"{swept[0]}: expected one value. Add --multirun to start a run for each value.")
        choices = tuple(o.input_line for o in parsed if o.key_or_group in GROUPS)
        values = tuple(o.input_line for o in parsed if o.key_or_group not in GROUPS)
        config = _assembled(choices, search)
        if any(not _sets_plain_value(o, config) for o in parsed if o.key_or_group not in GROUPS):
            return to_plain(_composed((*choices, *values), search))
        config = deepcopy(config)
        for override in parsed:
            if override.key_or_group not in GROUPS:
                OmegaConf.update(config, override.key_or_group, override.value())
        return to_plain(config)


def without_plus(overrides: Iterable[str]) -> list[str]:
    """`+experiment=a` as `experiment=a`: both are usual, and Hydra takes only the one that the defaults list implies."""
    return [o[1:] if o.startswith(("+experiment=", "+debug=", "+sweep=")) else o for o in overrides]


def to_plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain values, interpolations resolved, without Hydra's own node."""
    with hydra_errors():
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    values.pop("hydra", None)
    return {key: value for key, value in values.items() if key not in ("experiment", "debug", "sweep")}


def _sets_plain_value(override: Any, config: DictConfig) -> bool:
    """Whether an override replaces a value that exists; whatever else Hydra offers is left to Hydra."""
    is_change = override.is_force_add() or not (override.is_add() or override.is_delete())
    exists = OmegaConf.select(config, override.key_or_group, default=_NOTHING) is not _NOTHING
    return is_change and override.package is None and exists and not isinstance(override.value(), dict)


_NOTHING = object()


@cache
def _composed(overrides: tuple[str, ...], search: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(config_dir=str(project_dir("conf")), version_base="1.3"):
        return hydra_compose("train", [*overrides, *search])


@cache
def _assembled(choices: tuple[str, ...], search: tuple[str, ...]) -> DictConfig:
    """The configuration of choices: each composed by itself, unless one of them reaches beyond its own group."""
    base = _composed((), search)
    config = deepcopy(base)
    for choice in choices:
        group, _, name = choice.partition("=")
        alone = _composed((choice,), search)
        if not group.isidentifier() or any(alone.get(key) != base.get(key) for key in {*alone, *base} if key != group):
            return _composed(choices, search)
        config[group] = alone[group] if group in alone else None
    return config


@contextmanager
def hydra_errors() -> Iterator[None]:
    """Errors of composing as a UserError with the closest name.

    Raises:
        UserError: instead of an error of Hydra, OmegaConf or YAML.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(describe_hydra_error(error)) from error


def describe_hydra_error(error: Exception) -> str:
    """An error of Hydra in one or two sentences, with the closest name that exists."""
    text = " ".join(line.strip() for cause in [error] for line in str(cause).splitlines() if line.strip())
    if isinstance(error, ConfigCompositionException) and error.__cause__ is not None and "In '" in text:
        text = f"{text} {str(error.__cause__).splitlines()[0]}"
    if match := re.search(r"Could not override '([^']+)'", text):
        key = match[1]
        return f"{key}: there is no such setting.{did_you_mean(key, _known_keys())} To add a new key, write +{key}=VALUE."
    if match := re.search(r"In '[^']*': Could not find '(\S+)/([^/']+)'", text):
        group, name = match[1], match[2]
        available = _choices(str(error), group)
        options = f" Available: {', '.join(available)}." if available else ""
        return f"{group}={name}: there is no such file in the group.{did_you_mean(name, available)}{options}"
    if match := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{match[1]}: missing. Give {match[1]}=VALUE."
    return text


def _choices(text: str, group: str) -> list[str]:
    listed = text.partition("Available options")[2].splitlines()[1:]
    found = [line.strip() for line in listed if line.startswith("\t")]
    return found or sorted(file.stem for file in (project_dir("conf") / group).glob("*.yaml"))


def _known_keys() -> list[str]:
    """Dotted names of the default configuration, and the groups."""
    config = to_plain(_composed((), ()))
    names = list(GROUPS)

    def walk(node: dict, prefix: str) -> None:
        for name, value in node.items():
            names.append(f"{prefix}{name}")
            if isinstance(value, dict):
                walk(value, f"{prefix}{name}.")

    walk(config, "")
    return [*names, *{name.rpartition(".")[2] for name in names}]


os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises its errors, so that commands can show them in one way
