"""Hydra's launcher `ray` for grids: each run is collected by itself and has its name in Ray's dashboard."""

import os
import sys
from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from omegaconf import OmegaConf, open_dict

try:
    from hydra_plugins.hydra_ray_launcher.ray_launcher import RayLauncher as _RayLauncher
except ImportError:  # without the extra `launchers`, Hydra says that there is no such launcher
    _RayLauncher = object

OWN_VARIABLES = ("UFGIR_", "HF_", "WANDB_")  # beginnings of the names of those that runs need


class RayLauncher(_RayLauncher):
    """Queues runs as tasks of Ray, on this machine or a cluster, and waits for all of them."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int, names: Sequence[str] | None = None
    ) -> list[JobReturn]:
        """Queue the tasks and collect them in the order in which they end.

        Args:
            job_overrides: of each run.
            initial_job_idx: number of the first run.
            names: of the tasks, as Ray's dashboard shows them; else their overrides.

        Returns:
            The outcome of each run. Status UNKNOWN: its process or its node was lost, also when Ray tried again.
        """
        import ray

        ray.init(**OmegaConf.to_container(self.ray_cfg.init, resolve=True), ignore_reinit_error=True)
        task = ray.remote(**OmegaConf.to_container(self.ray_cfg.remote, resolve=True))(_run)
        variables = {name: value for name, value in os.environ.items() if name.startswith(OWN_VARIABLES)}
        modules = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        state = Singleton.get_state()
        shared = ray.put((self.hydra_context, self.config, self.task_function, state, variables, modules))
        pending = {}
        for number, overrides in enumerate(job_overrides):
            name = names[number] if names else " ".join(filter_overrides(overrides))
            pending[task.options(name=name).remote(shared, list(overrides), initial_job_idx + number)] = number
        returns = [JobReturn() for _ in job_overrides]
        while pending:
            (ended,), _ = ray.wait(list(pending), num_returns=1)
            number = pending.pop(ended)
            try:
                returns[number] = ray.get(ended)
            except ray.exceptions.RayTaskError as error:
                returns[number] = JobReturn(status=JobStatus.FAILED, _return_value=error)
            except ray.exceptions.RayError:
                pass
        return returns


def _run(shared: tuple[Any, ...], overrides: list[str], number: int) -> JobReturn:
    """One run, in its worker, which on a cluster has the folder, variables and module path of `ray start`."""
    context, config, task, state, variables, modules = shared
    os.chdir(config.hydra.runtime.cwd)
    os.environ.update(variables)
    sys.path += [path for path in modules if path not in sys.path]
    Singleton.set_state(state)
    setup_globals()
    config = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(config):
        config.hydra.job.id, config.hydra.job.num = f"job_id_for_{number}", number
    HydraConfig.instance().set_config(config)
    back = run_job(
        hydra_context=context,
        task_function=task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    return JobReturn(status=back.status, _return_value=back._return_value)
