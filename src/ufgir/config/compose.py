"""Compose configurations with Hydra, outside of `hydra.main` too, and show its errors to users."""

import argparse
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ufgir.config.schema import RunConfig
from ufgir.errors import UserError, did_you_mean
from ufgir.utils import flatten, project_dir

# Presets of ours have the names of the launchers' own, which Hydra reads as a check of ours, in each process of a grid.
warnings.filterwarnings("ignore", "(?s).*is validated against ConfigStore schema")

# Groups whose files settle their own node. A grid composes each of their choices once.
GROUPS = (
    "dataset", "backbone", "reducer", "plugins", "augment", "optim", "schedule", "callbacks", "trainer", "logger",
    "debug", "experiment", "sweep",
)  # fmt: skip


@dataclass(frozen=True)
class Composer:
    """Composes configurations from our files and a user's.

    Args:
        search: further places with config groups, such as `file:///home/me/conf`, searched after ours.
        config_name: the primary configuration.
    """

    search: tuple[str, ...] = ()
    config_name: str = "train"

    @classmethod
    def of_arguments(cls, arguments: Sequence[str]) -> "tuple[Composer, list[Path], list[str]]":
        """For a command that is no Hydra app: with the folders of `--config-dir`, these, and the other arguments.

        Raises:
            UserError: there is no such folder.
        """
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--config-dir", "-cd", type=Path, action="append", default=[])
        known, others = parser.parse_known_args(arguments)
        if missing := [str(folder) for folder in known.config_dir if not folder.is_dir()]:
            raise UserError(f"--config-dir {missing[0]}: there is no such folder.")
        return cls(tuple(f"file://{folder.absolute()}" for folder in known.config_dir)), known.config_dir, others

    @classmethod
    def of_hydra(cls, config: DictConfig) -> "Composer":
        """With the places of a running Hydra app: `--config-dir`, `--config-name`, `hydra.searchpath`.

        Args:
            config: the node `hydra`.
        """
        return cls(tuple(f"{s.schema}://{s.path}" for s in user_sources(config)), config.job.config_name)

    def load(self, overrides: Sequence[str], *, resources: bool = True) -> RunConfig:
        """The checked configuration of a command line.

        Args:
            overrides: such as `keep_rate=0.1`.
            resources: whether the weights that are asked for must be on this machine.

        Raises:
            UserError: with all errors that were found.
        """
        return RunConfig.load(self.compose(overrides), resources=resources)

    def compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The composed configuration of a command line as plain values, not checked yet. The same as plain Hydra's.

        Choices from groups are composed once and put together afterwards: planning thousands of runs is fast.

        Raises:
            UserError: Hydra's errors, in a sentence.
        """
        overrides = without_plus(o for o in overrides if not o.startswith(("hydra.", "hydra/")))
        with hydra_errors():
            parsed = OverridesParser.create().parse_overrides(overrides)
            if swept := [o.input_line for o in parsed if o.is_sweep_override()]:
                raise UserError(f"{swept[0]}: expected one value. Add --multirun to start a run for each value.")
            choices = tuple(o.input_line for o in parsed if o.key_or_group in GROUPS)
            values = [o for o in parsed if o.key_or_group not in GROUPS]
            config = self._assembled(choices)
            if not all(_sets_plain_value(override, config) for override in values):
                # Not kept: these are the overrides of one run.
                return to_plain(self._composed.__wrapped__(self, (*choices, *(o.input_line for o in values))))
            config = deepcopy(config)
            for override in values:
                OmegaConf.update(config, override.key_or_group, override.value())
            return to_plain(config)

    @cache  # noqa: B019  # there is one composer, or one for each command
    def _composed(self, overrides: tuple[str, ...]) -> DictConfig:
        home, places = f"file://{project_dir('conf')}", list(self.search)
        for place in self.search if self.config_name != "train" else ():  # a primary configuration of the user's own
            if Path(place.removeprefix("file://"), f"{self.config_name}.yaml").is_file():
                home, places = place, [home, *places]
                break
        search = [f"hydra.searchpath=[{','.join(places)}]"] if places else []
        running = GlobalHydra.instance().hydra  # of a sweep whose runs are planned
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(config_dir=home.removeprefix("file://"), version_base="1.3"):
                return hydra_compose(self.config_name, [*overrides, *search])
        finally:
            GlobalHydra.instance().hydra = running

    @cache  # noqa: B019  # as above
    def _assembled(self, choices: tuple[str, ...]) -> DictConfig:
        """The configuration of choices: each composed by itself, unless one reaches beyond its own group."""
        base = self._composed(())
        config = deepcopy(base)
        for choice in choices:
            group, _, name = choice.partition("=")
            alone = self._composed((choice,))
            others = (key for key in {*alone, *base} if key != group)
            if not group.isidentifier() or any(alone.get(key) != base.get(key) for key in others):
                return self._composed(choices)
            with open_dict(config):
                config.pop(group, None)
                if group in alone:
                    config[group] = alone[group]
        return config


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    """As `Composer.compose`, of our own files."""
    return Composer().compose(overrides)


def load_config(overrides: Sequence[str]) -> RunConfig:
    """As `Composer.load`, of our own files."""
    return Composer().load(overrides)


def without_plus(overrides: Iterable[str]) -> list[str]:
    """`+experiment=a` as `experiment=a`: Hydra itself takes only the one that the defaults list implies."""
    return [o[1:] if o.startswith(("+experiment=", "+debug=", "+sweep=")) else o for o in overrides]


def to_plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain values, interpolations resolved, without Hydra's own node."""
    with hydra_errors():
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    values.pop("hydra", None)
    return {key: value for key, value in values.items() if key not in ("experiment", "debug", "sweep")}


def user_sources(config: DictConfig) -> list[Any]:
    """The places of a running app that are not ours: `--config-dir`, `--config-name`, `hydra.searchpath`.

    Args:
        config: the node `hydra`.
    """
    return [s for s in config.runtime.config_sources if s.provider not in ("hydra", "main", "ufgir", "schema")]


def refuse_hidden_files(config: DictConfig) -> None:
    """See that no file of a user has the name of one of ours, which Hydra would use instead.

    Args:
        config: the node `hydra` of a running app.

    Raises:
        UserError: naming the files.
    """
    ours = {
        file.relative_to(folder) for folder in map(project_dir, ("conf", "sweeps")) for file in folder.rglob("*.yaml")
    }
    hidden = [
        Path(source.path) / name
        for source in user_sources(config)
        if source.schema == "file"
        for name in ours
        if len(name.parts) > 1 and (Path(source.path) / name).is_file()
    ]
    if hidden:
        raise UserError(
            *(f"{file}: ufgir has a file of this name, which Hydra would use instead. Rename yours." for file in hidden)
        )


def _sets_plain_value(override: Any, config: DictConfig) -> bool:
    """Whether an override replaces a value that exists; whatever else Hydra offers is left to Hydra."""
    is_change = override.is_force_add() or not (override.is_add() or override.is_delete())
    exists = OmegaConf.select(config, override.key_or_group, default=_NOTHING) is not _NOTHING
    return is_change and override.package is None and exists and not isinstance(override.value(), dict)


_NOTHING = object()


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
    except (ImportError, RuntimeError) as error:
        found = re.search(r"(?:Could not instantiate plugin|Unknown plugin class :) '?([\w.]+)", str(error))
        if found is None:
            raise
        raise UserError(
            f"{found[1]} is not installed. Install launchers with `pip install -e '.[launchers]'`, Optuna with "
            "`pip install -e '.[search]'`."
        ) from error
    except ValueError as error:
        if "Config group override" not in str(error):
            raise
        raise UserError(f"GROUP=null: {error}. Leave a group out with ~GROUP, such as ~schedule.") from error


def describe_hydra_error(error: Exception) -> str:
    """An error of Hydra in one or two sentences, with the closest name that exists."""
    text = " ".join(str(error).split())
    if isinstance(error, ConfigCompositionException) and error.__cause__ is not None and "In '" in text:
        text = f"{text} {str(error.__cause__).splitlines()[0]}"
    if match := re.search(r"Could not override '([^']+)'", text):
        key = match[1]
        near = did_you_mean(key, _known_keys())
        return f"{key}: there is no such setting.{near or f' To add a new key, write +{key}=VALUE.'}"
    if match := re.search(r"In '[^']*': Could not (?:find|load) '(\S+)/([^/']+)'", text):
        group, name = match[1], match[2]
        available = _choices(str(error), group)
        options = f" Available: {', '.join(available)}." if available else ""
        return f"{group}={name}: there is no such file in the group.{did_you_mean(name, available)}{options}"
    if match := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{match[1]}: missing. Give {match[1]}=VALUE."
    return text


def _choices(text: str, group: str) -> list[str]:
    found = re.findall(r"^\t(\S+)$", text.partition("Available options")[2], re.MULTILINE)
    return found or sorted(file.stem for file in (project_dir("conf") / group).glob("*.yaml"))


def _known_keys() -> list[str]:
    """Dotted names of the default configuration, and the groups."""
    paths = (accumulate(key.split("."), "{}.{}".format) for key in flatten(compose(())))
    names = [*GROUPS, *dict.fromkeys(chain.from_iterable(paths))]
    return [*names, *{name.rpartition(".")[2] for name in names}]
