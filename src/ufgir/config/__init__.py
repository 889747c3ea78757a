"""A run's configuration: composed by Hydra, checked by pydantic, identified by a hash."""

from ufgir.config.compose import compose, load_config
from ufgir.config.identity import axes, cell, run_name
from ufgir.config.schema import RunConfig

__all__ = ["RunConfig", "axes", "cell", "compose", "load_config", "run_name"]
