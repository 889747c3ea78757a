"""Hydra's launcher `submitit_slurm` for grids: each job is collected by itself, and nothing is submitted twice."""

import re
import shutil
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from io import StringIO
from pathlib import Path

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus

from ufgir.errors import RunFailed, UserError
from ufgir.sweep.slurm import FOLDER, SlurmJob, SlurmQueue, logs_of, write_submission

try:
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
except ImportError:  # without the extra `launchers`, Hydra says that there is no such launcher
    BaseSubmititLauncher = object

Numbered = tuple[int, Sequence[str], Path]  # number, overrides and folder of a run
POLL_SECONDS = 5.0
LINE_SECONDS = 60.0  # between two lines about the queue
# Answers of sbatch after which the same submission may succeed later.
TEMPORARY = ("unable to contact", "timed out", "temporarily", "connection refused", "communication connection failure")
PATIENCE = 600.0  # seconds for which such answers are waited out


class SlurmLauncher(BaseSubmititLauncher):
    """Submits runs as arrays of jobs through submitit, and waits until SLURM has none of them any more.

    Jobs that are queued or running already, submitted from another shell or by a launcher that was killed, are waited
    for and not submitted again. Jobs that were cancelled are not submitted again, either: that was the user's wish.
    """

    _EXECUTOR = "slurm"

    def launch(
        self,
        job_overrides: Sequence[Sequence[str]],
        initial_job_idx: int,
        folders: Sequence[Path] | None = None,
        wait: bool = True,
    ) -> list[JobReturn]:
        """Submit jobs and, by default, wait for them.

        Args:
            job_overrides: of each run.
            initial_job_idx: number of the first run.
            folders: of each run; without them, as other sweepers launch, jobs are known to this process only.
            wait: return when the jobs have ended.

        Returns:
            The outcome of each run. Status UNKNOWN: its job ended without a result, or is not over.

        Raises:
            UserError: SLURM refuses the jobs for good.
            RunFailed: it does not answer.
        """
        from filelock import FileLock

        if shutil.which("sbatch") is None:
            raise UserError(
                "hydra/launcher=submitit_slurm: this machine has no sbatch. Use a login node of the cluster, or "
                "hydra/launcher=submitit_local."
            )
        self._refuse_short_jobs()
        root = Path(str(self.config.output_root)).expanduser().absolute()
        if folders is None:
            folders = [root / FOLDER / uuid.uuid4().hex for _ in job_overrides]
        (root / FOLDER).mkdir(parents=True, exist_ok=True)
        with FileLock(root / FOLDER / ".lock"):
            queue = SlurmQueue()
            queue.watch([root])
            if queue.error:
                raise RunFailed(f"SLURM did not list its jobs ({queue.error}). Run the command again later.")
            new = [number for number, folder in enumerate(folders) if queue.active(folder) is None]
            self._submit(root, [(initial_job_idx + n, job_overrides[n], folders[n]) for n in new])
        if not wait:
            return [JobReturn() for _ in folders]
        self._wait(queue, folders)
        return [_outcome(queue.jobs.get(folder.absolute())) for folder in folders]

    def _refuse_short_jobs(self) -> None:
        seconds, delay = 60 * self.params["timeout_min"], self.params["signal_delay_s"]
        if seconds <= delay + 60:
            raise UserError(
                f"hydra.launcher.timeout_min={self.params['timeout_min']}: expected more than "
                f"hydra.launcher.signal_delay_s={delay}, the seconds that a job has to requeue itself, and one "
                "minute, by which SLURM may send the signal early."
            )

    def _submit(self, root: Path, runs: Sequence[Numbered]) -> None:
        """Submit arrays of jobs, as large as SLURM takes them."""
        size = _largest_array()
        arrays = [runs[start : start + size] for start in range(0, len(runs), size)]
        for array in arrays:
            name = f"{self.params['name']}-{uuid.uuid4().hex[:6]}"
            record = root / FOLDER / f"{name}.json"
            write_submission(record, [folder for _, _, folder in array])
            try:
                at_a_time = -(-self.params["array_parallelism"] // len(arrays))
                job = self._submit_array(name, logs_of(record), array, at_a_time)
            except UserError:  # nothing was submitted
                record.unlink()
                if not list((root / FOLDER).glob("*.json")):
                    shutil.rmtree(root / FOLDER, ignore_errors=True)
                    with suppress(OSError):
                        root.rmdir()
                raise
            print(
                f"SLURM has {len(array):,} jobs as {job}, logs in {logs_of(record)}. `scancel {job}` ends them; they "
                "go on without this command, which may be stopped and run again.",
                flush=True,
            )

    def _submit_array(self, name: str, logs: Path, runs: Sequence[Numbered], at_a_time: int) -> str:
        """Submit one array of jobs; returns its id."""
        import submitit

        own = {"submitit_folder", "max_num_timeout", "array_parallelism", "name"}
        common = {"timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes"}
        common |= {"stderr_to_stdout"}
        executor = submitit.AutoExecutor(
            folder=logs, cluster="slurm", slurm_max_num_timeout=self.params["max_num_timeout"]
        )
        given = {key: value for key, value in self.params.items() if key not in own}
        executor.update_parameters(
            name=name,
            slurm_array_parallelism=at_a_time,
            **{key if key in common else f"slurm_{key}": value for key, value in given.items()},
        )
        arguments = [
            (list(overrides), "hydra.sweep.dir", number, f"job_id_for_{number}", Singleton.get_state())
            for number, overrides, _ in runs
        ]
        started = time.monotonic()
        while True:
            try:
                with redirect_stderr(StringIO()):  # submitit would print what SLURM answers
                    jobs = executor.map_array(self, *zip(*arguments, strict=True))
            except submitit.core.utils.FailedJobError as error:
                answer = " ".join(str(error).replace("sbatch: error: ", "").split())
                if not any(sign in answer.lower() for sign in TEMPORARY):
                    raise UserError(f"hydra/launcher=submitit_slurm: SLURM refuses the jobs: {answer}") from error
                if time.monotonic() - started > PATIENCE:
                    raise RunFailed(f"SLURM does not take jobs: {answer}") from error
                time.sleep(POLL_SECONDS)
                # It may have taken them all the same.
                subprocess.run(["scancel", f"--name={name}"], capture_output=True)
            else:
                return jobs[0].job_id.partition("_")[0]

    @staticmethod
    def _wait(queue: SlurmQueue, folders: Sequence[Path]) -> None:
        """Wait until SLURM has no job of these runs any more, and say now and then what it has."""
        shown, moment = "", 0.0
        while True:
            queue.refresh()
            active = [job for folder in folders if (job := queue.active(folder)) is not None]
            if queue.error:
                text = f"SLURM does not answer ({queue.error}); waiting"
            else:
                if not active:
                    return
                counts = Counter(
                    "running" if job.state == "RUNNING" else f"{job.state.lower()} ({job.reason})".replace(" ()", "")
                    for job in active
                )
                text = f"{len(folders) - len(active)} of {len(folders)} jobs ended; " + ", ".join(
                    f"{count} {state}" for state, count in sorted(counts.items())
                )
            if text != shown and time.monotonic() - moment >= LINE_SECONDS:
                print(text, file=sys.stderr, flush=True)
                shown, moment = text, time.monotonic()
            time.sleep(POLL_SECONDS)


def _largest_array() -> int:
    """How many jobs SLURM takes as one array; 1000 where it does not say."""
    answer = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True)
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", answer.stdout)
    return max(1, int(found[1])) if found else 1000


def _outcome(job: SlurmJob | None) -> JobReturn:
    """What came of a job that SLURM does not have any more."""
    if job is None:
        return JobReturn()
    if (file := job.file("result.pkl")) is not None:
        from submitit.core.utils import pickle_load

        outcome, value = pickle_load(file)
        if outcome == "success":
            return JobReturn(status=value.status, _return_value=value._return_value)
        return JobReturn(status=JobStatus.FAILED, _return_value=RunFailed(value.strip().splitlines()[-1]))
    if job.state.startswith("CANCELLED"):
        return JobReturn(status=JobStatus.FAILED, _return_value=RunFailed("cancelled"))
    return JobReturn()
