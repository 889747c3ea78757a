"""The config of the choices from groups, before any setting: composed once for the thousands of runs of a sweep."""

import os
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from ufgir.config.checks import flatten

# Groups whose choices settle their own settings and no others, which `experiment` and `debug` do.
SEPARATE = ("dataset", "backbone", "reducer", "plugins", "augment", "optim", "trainer", "logger")


@dataclass(frozen=True, eq=False)
class Base:
    """A config that is not to be changed, and what is known of it.

    Attributes:
        config: with its interpolations.
    """

    config: DictConfig

    @cached_property
    def plain(self) -> dict:
        """As plain Python, interpolations as they are written."""
        return OmegaConf.to_container(self.config)

    @property
    def resolved(self) -> dict:
        """As plain Python, interpolations resolved; the environment's may have changed since the last time."""
        values = tuple(os.environ.get(name) for name in self._variables)
        if values not in self._resolved:
            self._resolved[values] = OmegaConf.to_container(self.config, resolve=True)
        return self._resolved[values]

    @cached_property
    def _resolved(self) -> dict[tuple[str | None, ...], dict]:
        """By what the environment said."""
        return {}

    @cached_property
    def _variables(self) -> list[str]:
        """Names of the environment's variables that interpolations read."""
        return re.findall(r"\$\{oc\.env:(\w+)", str(self.plain))

    @cached_property
    def leaves(self) -> set[str]:
        """Dotted names of all settings."""
        return {name for name, _ in flatten(self.plain)}

    @cached_property
    def read(self) -> set[str]:
        """Settings that interpolations read."""
        return set(_interpolated(self.plain))


def _interpolated(node: dict) -> Iterator[str]:
    for _, value in flatten(node):
        yield from re.findall(r"\$\{([\w.]+)\}", str(value))


@cache
def assembled(folder: Path, lines: tuple[str, ...]) -> Base:
    """What Hydra would compose of choices that reach nothing beyond their groups, each of them composed once."""
    search = tuple(line for line in lines if line.startswith("hydra."))
    config = deepcopy(composed_whole(folder, search).config)
    for line in lines:
        group = line.partition("=")[0]
        if group in SEPARATE:
            config[group] = composed_whole(folder, (line, *search)).config[group]
    return Base(config)


@cache
def composed_whole(folder: Path, lines: tuple[str, ...]) -> Base:
    """Hydra takes a tenth of a second for it."""
    with initialize_config_dir(config_dir=str(folder), version_base="1.3"):
        return Base(compose("train", list(lines)))
