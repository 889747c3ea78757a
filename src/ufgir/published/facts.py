"""What is known of a checkpoint, and from where."""

from dataclasses import dataclass
from functools import cache

from omegaconf import OmegaConf

from ufgir.resources import group_files


@dataclass(frozen=True)
class Fact:
    """One setting of the model or of its training.

    Attributes:
        value: in the form that the setting has in our config.
        source: where it was found, as it is told to the user.
    """

    value: object
    source: str


Facts = dict[str, Fact]  # by the setting's name in our config, such as `keep_rate` or `plugins.cache.num_clr`


@cache
def plugin_choices() -> dict[str, tuple[str, bool]]:
    """The choices `plugins=...` of our config -> their head, and whether they have the cache."""
    configs = {file.stem: OmegaConf.load(file) for file in group_files("plugins")}
    return {name: (config.head.name, bool(config.cache)) for name, config in configs.items()}
