"""A Hydra sweeper for grids that are a union of products, and for plain lists of values as anyone expects.

Hydra finds it here. `hydra/sweeper=ufgir` is this project's default; a file of the group `sweep` fills in its settings.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class GridSweeperConf:
    """Settings of the node `hydra.sweeper`: those of a grid."""

    _target_: str = "hydra_plugins.ufgir_sweeper.GridSweeper"
    name: str | None = None
    words: list[str] = field(default_factory=list)
    union: list[Any] | None = None
    published_lr: bool = False
    at_once: int = 1000  # jobs handed to the launcher at once; SLURM's arrays have a limit


def _gpus(share: float = 1) -> float:
    """`share` where there is a GPU, else 0: a job that asks for one would wait for ever."""
    import torch

    return share if torch.cuda.is_available() else 0


def _workers() -> int:
    """Runs that this machine can take at a time."""
    import torch

    return torch.cuda.device_count() or max(1, (os.cpu_count() or 1) // 2)


OmegaConf.register_new_resolver("ufgir_gpus", _gpus, replace=True)
OmegaConf.register_new_resolver("ufgir_workers", _workers, replace=True)
ConfigStore.instance().store(group="hydra/sweeper", name="ufgir", node=GridSweeperConf, provider="ufgir")


class GridSweeper(Sweeper):
    """Expands the grid that its settings tell, narrowed by the words of the command line, and launches what is due.

    Without a grid every combination of the words' values is launched.
    """

    def __init__(self, name: str | None, words: Sequence[str], union: Sequence | None, published_lr: bool,
                 at_once: int) -> None:  # fmt: skip
        self.at_once = at_once
        self.settings = {"name": name, "words": words, "union": union, "published_lr": published_lr}
        self.launcher: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the engine ready; called by Hydra."""
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context,
            task_function=partial(_in_grid, self.settings["name"] or "", task_function),
            config=config,
        )

    def sweep(self, arguments: list[str]) -> None:
        """Launch the jobs; called by Hydra with the words of the command line but its own."""
        from ufgir.grids.grid import expand, grid_of, jobs_told
        from ufgir.grids.launch import launch_due

        words = [word for word in arguments if not word.startswith("sweep=")]
        if self.settings["union"] is None:
            jobs = jobs_told(words)
        else:
            settings = {key: _plain(value) for key, value in self.settings.items()}
            jobs = tuple(expand(grid_of(settings, f"sweep={self.settings['name']}"), words))
        at_once = 1 if isinstance(self.launcher, BasicLauncher) else self.at_once

        def launch(batch: Sequence[Sequence[str]], first: int) -> Any:
            return self.launcher.launch([list(job) for job in batch], initial_job_idx=first)

        launch_due(jobs, launch, at_once=at_once)


def _in_grid(name: str, task: TaskFunction, config: DictConfig) -> Any:
    """A job, in an environment that tells loggers the name of its grid; workers of a cluster do not inherit ours."""
    os.environ["UFGIR_SWEEP"] = name
    return task(config)


def _plain(value: Any) -> Any:
    """A setting without OmegaConf's containers."""
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
