"""What SLURM does with the runs of a grid: which of them are queued or running as jobs, and where their logs are."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ufgir.errors import RunFailed
from ufgir.utils import atomic_write

FOLDER = ".slurm"  # beside the folders of runs: a file for each submission, and the logs
# States after which a job does not come back by itself.
OVER = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
    "REVOKED",
)  # fmt: skip


@dataclass
class SlurmJob:
    """One job, the newest of its run.

    Attributes:
        job_id: as `scancel` takes it, such as `12_3`; None if the launcher was killed before it knew.
        logs: the folder of its submission, with `%j` for the job's id.
        state: of SLURM, such as PENDING; empty when SLURM does not know the job, or not any more.
        reason: why it waits, such as Resources; of SLURM.
    """

    job_id: str | None
    logs: str
    state: str = ""
    reason: str = ""

    @property
    def is_active(self) -> bool:
        """Whether it waits, runs or comes back by itself."""
        return bool(self.state) and not self.state.startswith(OVER)

    @property
    def log(self) -> Path | None:
        """The file with its output; None while its id is not known."""
        return None if self.job_id is None else self._file("_0_log.out")

    @property
    def result(self) -> Path:
        """The file that submitit writes when the job has ended by itself."""
        return self._file("_0_result.pkl")

    def _file(self, ending: str) -> Path:
        return Path(self.logs.replace("%j", str(self.job_id)), f"{self.job_id}{ending}")


class SlurmQueue:
    """The jobs of runs, as SLURM has them; empty where nothing was submitted or there is no SLURM.

    Submissions are written down beside the runs before SLURM gets them, and carry their name in the queue. So a job is
    known from any shell, and after its launcher was killed at any moment.

    Attributes:
        jobs: the newest job of each run folder, as an absolute path.
        error: what SLURM answered instead of its queue; empty if it answered.
    """

    def __init__(self) -> None:
        self.roots: list[Path] = []
        self.jobs: dict[Path, SlurmJob] = {}
        self.error = ""

    def watch(self, roots: Iterable[Path]) -> None:
        """Follow the submissions in folders of runs."""
        self.roots = sorted({root.absolute() for root in roots})
        self.refresh()

    def refresh(self) -> None:
        """Read the submissions and ask SLURM for their jobs; if it does not answer, the states stay as they were."""
        submissions = []
        for root in self.roots:
            for file in (root / FOLDER).glob("*.json"):
                submissions.append(json.loads(file.read_text()))
        submissions.sort(key=lambda submission: submission["time"])
        if not submissions or shutil.which("squeue") is None:
            return
        try:
            states = _ask(submissions)
        except RunFailed as error:
            self.error = str(error)
            return
        self.error = ""
        known = {}
        for submission in submissions:
            for index, run in enumerate(submission["runs"]):
                job_id = None
                if submission["job"] is not None:
                    job_id = submission["job"] if len(submission["runs"]) == 1 else f"{submission['job']}_{index}"
                found = states.get(job_id) or states.get((submission["name"], index)) or (job_id, "", "")
                known[Path(run)] = SlurmJob(found[0], submission["logs"], *found[1:])
        for run, job in known.items():
            before = self.jobs.get(run)
            if not job.state and before is not None and before.job_id == job.job_id and not before.is_active:
                job.state = before.state  # SLURM forgets a job some minutes after its end
        self.jobs = known

    def active(self, run: Path) -> SlurmJob | None:
        """The job of a run folder, if it waits or runs."""
        job = self.jobs.get(run.absolute())
        return job if job is not None and job.is_active else None


def _ask(submissions: Sequence[dict]) -> dict:
    """The jobs of submissions: job id, and (name, index in its array), -> (job id, state, reason)."""
    ids = ",".join(submission["job"] for submission in submissions if submission["job"] is not None)
    names = ",".join(submission["name"] for submission in submissions if submission["job"] is None)
    states = {}
    for option in [f"--jobs={ids}"] * bool(ids) + [f"--name={names}"] * bool(names):
        command = ["squeue", "--noheader", "--array", "--states=all", option, "--format=%i|%K|%j|%T|%r"]
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode and "Invalid job id" not in answer.stderr:
            raise RunFailed(answer.stderr.strip() or "squeue failed")
        for line in answer.stdout.splitlines():
            job_id, index, name, state, reason = line.strip().split("|", 4)
            job = (job_id, state, "" if reason == "None" else reason)
            states[job_id] = states[name, int(index) if index.isdigit() else 0] = job
    return states


def write_submission(root: Path, name: str, logs: str, runs: Sequence[str], time: float, job: str | None) -> Path:
    """Write down what is submitted, or with `job` under which id SLURM has it; returns the file."""
    file = root / FOLDER / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as stream:
        json.dump({"name": name, "time": time, "job": job, "logs": logs, "runs": list(runs)}, stream)
    return file
