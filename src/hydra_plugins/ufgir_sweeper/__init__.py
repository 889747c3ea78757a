"""Hydra plugins: the sweeper `ufgir` for resumable grids, and the search path of the group `sweep`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.ufgir_ray import RayLauncher
from hydra_plugins.ufgir_slurm import SlurmLauncher
from ufgir.errors import UserError
from ufgir.utils import project_dir


@dataclass
class GridSweeperConf:
    """The node `hydra.sweeper`: a grid, which a file of the group `sweep` fills in."""

    _target_: str = "hydra_plugins.ufgir_sweeper.GridSweeper"
    name: str | None = None
    words: list[str] = field(default_factory=list)
    union: list[Any] | None = None
    published_lr: bool = False
    wait: bool = True  # false with SLURM: submit, and leave


def _gpus(share: float = 1) -> float:
    """`share` where there is a GPU, else 0: a job that asks for one would wait forever."""
    import torch

    return share if torch.cuda.is_available() else 0


def _workers() -> int:
    """Runs that this machine can take at a time: one with a GPU, else one for each two cores."""
    import torch

    return 1 if torch.cuda.is_available() else max(1, (os.cpu_count() or 1) // 2)


OmegaConf.register_new_resolver("ufgir_gpus", _gpus, replace=True)
OmegaConf.register_new_resolver("ufgir_workers", _workers, replace=True)
ConfigStore.instance().store(group="hydra/sweeper", name="ufgir", node=GridSweeperConf, provider="ufgir")


class SweepSearchPath(SearchPathPlugin):
    """Adds `sweeps/`, which holds the group `sweep`, where the configuration is ours; other Hydra apps see nothing."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        ours = str(project_dir("conf"))
        main = (entry.path for entry in search_path.get_path() if entry.provider == "main")
        if any(path.removeprefix("file://") == ours for path in main):
            search_path.append("ufgir", f"file://{project_dir('sweeps')}")


class GridSweeper(Sweeper):
    """Expands the grid, narrowed by the command line, and launches what is due; see `ufgir.sweep.launch`.

    Without a grid every combination of the values on the command line is a run.
    """

    def __init__(self, wait: bool, **grid: Any) -> None:
        self.wait, self.grid = wait, grid
        self.launcher: Any = None
        self.hydra_config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        self.hydra_config = config.hydra
        self.grid["name"] = config.hydra.runtime.choices.get("sweep") or ""
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context,
            task_function=partial(_in_grid, self.grid["name"], task_function),
            config=config,
        )

    def sweep(self, arguments: list[str]) -> None:
        """Called by Hydra with the overrides of the command line but its own.

        Raises:
            UserError: errors of any run, before the first one starts.
            RunFailed: some runs failed.
        """
        from ufgir.config.compose import Composer, refuse_hidden_files
        from ufgir.sweep.grid import Grid, jobs_of
        from ufgir.sweep.launch import launch_due
        from ufgir.sweep.status import PlannedRun

        refuse_hidden_files(self.hydra_config)
        self._refuse_shared_gpus()
        overrides = [override for override in arguments if not override.startswith("sweep=")]
        if self.grid["union"] is None:
            jobs = jobs_of(overrides)
        else:
            grid = {key: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for key, v in self.grid.items()}
            jobs = tuple(Grid.of(grid, self.grid["name"]).expand(overrides))

        on_slurm = isinstance(self.launcher, SlurmLauncher)
        if not (self.wait or on_slurm):
            raise UserError("hydra.sweeper.wait=false: only hydra/launcher=submitit_slurm can leave its runs alone.")

        def launch(batch: Sequence[PlannedRun], first: int) -> Sequence[JobReturn]:
            known: dict[str, Any] = {}
            if on_slurm:
                known = {"folders": [run.folder.path for run in batch], "wait": self.wait}
            elif isinstance(self.launcher, RayLauncher):
                known = {"names": [run.folder.name for run in batch]}
            return self.launcher.launch([list(run.overrides) for run in batch], initial_job_idx=first, **known)

        launch_due(
            jobs,
            Composer.of_hydra(self.hydra_config),
            launch,
            one_by_one=isinstance(self.launcher, BasicLauncher),
            adopts=on_slurm and self.wait,
            wait=self.wait,
        )

    def _refuse_shared_gpus(self) -> None:
        """joblib knows nothing of GPUs: its workers would all use the first one."""
        launcher = self.hydra_config.launcher
        if "JoblibLauncher" in launcher._target_ and launcher.n_jobs != 1:
            import torch

            if torch.cuda.is_available():
                raise UserError(
                    f"hydra/launcher=joblib with hydra.launcher.n_jobs={launcher.n_jobs}: its workers "
                    "would share one GPU. Use hydra/launcher=ray, which gives each run its own."
                )


def _in_grid(name: str, task: TaskFunction, config: DictConfig) -> Any:
    """A job, in an environment that tells loggers the name of its grid; workers of a cluster do not inherit ours."""
    os.environ["UFGIR_SWEEP"] = name
    return task(config)
