"""Grids on a real SLURM: whatever happens to jobs, node, controller and launcher, each run is done once, the same."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cluster.grids import MINE, processes, results, search, start, status, sweep, wait_until
from tiny import run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
ON_SLURM = (
    "hydra/launcher=submitit_slurm_cpu", "hydra.launcher.cpus_per_task=1", "hydra.launcher.partition=debug",
)  # fmt: skip

URGENT = ("srun", "--partition=urgent", "--ntasks=1", "--cpus-per-task=2", "sleep", "5")  # preempts what runs


def test_a_launcher_is_killed_and_another_one_takes_over_its_jobs(grid, slurm, expected):
    """Also more runs than an array of this SLURM may have."""
    first = start(*ON_SLURM)
    wait_until(lambda: len(slurm.jobs("running")) == 2 and len(slurm.jobs()) == 4)  # both arrays are submitted
    first.kill()
    first.communicate()
    before = status()
    assert before["running"] == 2 and before["queued"] == 2 and before["missing"] == 0
    submitted = set(slurm.jobs())
    again = sweep(*ON_SLURM)
    assert again.returncode == 0, again.stderr
    assert set(slurm.jobs()) == submitted, "no run was submitted again"
    assert len({job.partition("_")[0] for job in submitted}) == 2, "two arrays: MaxArraySize is 3"
    after = status()
    assert after["done"] == 4 and after["queued"] == 0
    assert results() == expected()


def test_jobs_node_and_controller_are_disturbed(grid, slurm, expected):
    """A process is killed, a job requeued, the node goes down, the controller is restarted."""
    left = sweep(*ON_SLURM, "seed=1", "hydra.sweeper.wait=false")
    assert left.returncode == 0, left.stderr
    rest = start(*ON_SLURM, "seed=1")
    wait_until(lambda: len(list(Path("outputs").glob("*/last.ckpt"))) == 2)
    os.kill(next(iter(processes().values())), signal.SIGKILL)
    slurm("scontrol", "requeue", slurm.jobs("running")[-1])
    slurm.restart_controller()
    slurm("scontrol", "update", f"nodename={slurm.host}", "state=down", "reason=test")
    time.sleep(6)
    slurm("scontrol", "update", f"nodename={slurm.host}", "state=resume")
    output, _ = rest.communicate(timeout=600)
    assert rest.returncode == 0, output
    assert len(results()) == 2 and results().items() <= expected().items()


def test_what_was_cancelled_is_submitted_again_only_by_another_command(grid, slurm):
    words = ("seed=1", "trainer.max_epochs=300")
    launcher = start(*ON_SLURM, *words)
    wait_until(lambda: len(slurm.jobs("running")) == 2)
    slurm("scancel", *slurm.jobs())
    output, _ = launcher.communicate(timeout=120)
    assert launcher.returncode == 1 and output.count(" cancelled (") == 2
    assert not slurm.jobs("pending,running")
    assert status(*words)["queued"] == status(*words)["running"] == 0


def test_a_time_limit_and_preemption_lose_no_more_than_an_epoch(grid, slurm, expected):
    words = ("seed=1", "keep_rate=0.5", "trainer.max_epochs=60")
    launcher = start(*ON_SLURM, *words, "hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=50")
    wait_until(lambda: list(Path("outputs").glob("*/last.ckpt")))
    assert subprocess.run(URGENT, timeout=120).returncode == 0, "it got the cores of the run"
    output, _ = launcher.communicate(timeout=600)
    assert launcher.returncode == 0, output
    (log,) = Path("outputs/.slurm/logs").glob("*/*_log.out")
    assert log.read_text().count("epoch 1/") == 1, "each attempt went on where the last one ended"
    assert "timed-out" in log.read_text()
    assert results() == expected(*words)


def test_a_job_that_preemption_cancels_is_submitted_again(grid, slurm, expected):
    words = ("seed=1", "keep_rate=0.5")
    launcher = start(*ON_SLURM, "hydra.launcher.partition=spare", *words)
    wait_until(lambda: list(Path("outputs").glob("*/last.ckpt")))
    assert subprocess.run(URGENT, timeout=120).returncode == 0
    output, _ = launcher.communicate(timeout=600)
    assert launcher.returncode == 0, output
    assert len(list(Path("outputs/.slurm/logs").glob("*/*_log.out"))) == 2, "two jobs"
    assert len(results()) == 1 and results().items() <= expected().items()


def test_a_run_of_two_processes(grid, slurm, expected):
    words = ("seed=1", "keep_rate=0.5", "trainer.devices=2", "trainer.strategy=ddp", "trainer.max_epochs=5")
    done = sweep(*ON_SLURM, "hydra.launcher.tasks_per_node=2", *words)
    assert done.returncode == 0, done.stderr
    assert results() == expected(*words)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["hydra.launcher.partition=nowhere"], "invalid partition"),
        (["hydra.launcher.timeout_min=2"], "signal_delay_s"),
    ],
)
def test_what_slurm_refuses_is_the_users_mistake(grid, slurm, words, part):
    refused = sweep(*ON_SLURM, *words)
    assert refused.returncode == 2 and part in refused.stderr.lower() and "Traceback" not in refused.stderr
    assert not slurm.jobs("pending,running") and not Path("outputs").exists()


def test_status_names_the_log_of_a_failed_job(grid, slurm):
    words = ("seed=1", "keep_rate=0.5", "schedule=constant", "optim.lr=1e30", "plugins=base")
    failed = sweep(*ON_SLURM, *words)
    assert failed.returncode == 1 and "not finite" in failed.stderr
    shown = run("sweep", "status", *MINE, *words, cwd=Path()).stdout
    (log,) = {line.partition("log: ")[2] for line in shown.splitlines() if "log: " in line}
    assert "not finite" in Path(log).read_text()


def test_optuna(here, slurm):
    search(*ON_SLURM)
