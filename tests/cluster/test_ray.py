"""Grids on a Ray cluster that was started elsewhere: workers, nodes and launchers are killed, and nothing is lost."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cluster.grids import processes, results, search, start, sweep, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def on_ray(cluster) -> tuple[str, ...]:
    return (
        "hydra/launcher=ray", f"hydra.launcher.ray.init.address='{cluster.address}'",
        "hydra.launcher.ray.remote.num_cpus=1", "hydra.launcher.ray.remote.num_gpus=0",
    )  # fmt: skip


def test_worker_and_launcher_are_killed(grid, ray_cluster, expected):
    words = on_ray(ray_cluster)
    launcher = start(*words)
    wait_until(lambda: len(list(Path("outputs").glob("*/last.ckpt"))) == 2)
    os.kill(next(iter(processes().values())), signal.SIGKILL)
    time.sleep(5)
    launcher.kill()
    launcher.communicate()
    wait_until(lambda: not any(Path(f"/proc/{process}").exists() for process in processes().values()))
    again = sweep(*words)
    assert again.returncode == 0, again.stderr
    assert not list(ray_cluster.folder.iterdir()), "runs are where the launcher is, not where Ray was started"
    assert results() == expected()


def test_a_node_is_lost_and_another_one_joins(grid, ray_cluster, expected):
    words = on_ray(ray_cluster)
    launcher = start(*words)
    wait_until(lambda: len(list(Path("outputs").glob("*/last.ckpt"))) == 2)
    second = subprocess.run(["pgrep", "-f", "raylet/raylet"], capture_output=True, text=True).stdout.split()[-1]
    os.kill(int(second), signal.SIGKILL)
    time.sleep(5)
    ray_cluster.start_second_node()
    output, _ = launcher.communicate(timeout=600)
    assert launcher.returncode == 0, output
    assert results() == expected()


def test_the_head_is_lost(grid, ray_cluster, expected):
    """The command ends, and on another cluster it completes the grid."""
    launcher = start(*on_ray(ray_cluster), "seed=1")
    wait_until(lambda: len(list(Path("outputs").glob("*/last.ckpt"))) == 2)
    ray_cluster.stop()
    launcher.communicate(timeout=300)
    assert launcher.returncode != 0
    ray_cluster.start()
    again = sweep(*on_ray(ray_cluster), "seed=1")
    assert again.returncode == 0, again.stderr
    assert len(results()) == 2 and results().items() <= expected().items()


def test_optuna(here, ray_cluster):
    search(*on_ray(ray_cluster))
