"""What SLURM does with the runs of a grid: which of them are queued or running as jobs, and where their logs are."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ufgir.utils import atomic_write

FOLDER = ".slurm"  # beside the folders of runs: NAME.json of each submission, and its logs in logs/NAME
# States after which a job does not come back by itself.
OVER = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
    "REVOKED",
)  # fmt: skip


@dataclass
class SlurmJob:
    """One job, the newest of its run.

    Attributes:
        files: pattern of its files' names without their endings, in the folder of its submission.
        state: of SLURM, such as PENDING; empty when SLURM does not know the job, or not any more.
        reason: why it waits, such as Resources; of SLURM.
    """

    files: Path
    state: str = ""
    reason: str = ""

    @property
    def is_active(self) -> bool:
        """Whether it waits, runs or comes back by itself."""
        return bool(self.state) and not self.state.startswith(OVER)

    def file(self, ending: str) -> Path | None:
        """`log.out`, or `result.pkl`, which submitit writes when the job has ended by itself; None before."""
        return next(self.files.parent.glob(f"{self.files.name}_{ending}"), None)


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
        files = [file for root in self.roots for file in (root / FOLDER).glob("*.json")]
        submissions = sorted(((json.loads(file.read_text()), file) for file in files), key=lambda pair: pair[0]["time"])
        if not submissions or shutil.which("squeue") is None:
            return
        names = ",".join(file.stem for file in files)
        command = ["squeue", "--noheader", "--array", "--states=all", f"--name={names}", "--format=%j|%K|%T|%r"]
        answer = subprocess.run(command, capture_output=True, text=True)
        self.error = (answer.stderr.strip() or "squeue failed") if answer.returncode else ""
        if self.error:
            return
        states = {}
        for line in answer.stdout.splitlines():
            name, index, state, reason = line.strip().split("|", 3)
            states[name, int(index) if index.isdigit() else 0] = state, "" if reason == "None" else reason
        known = {}
        for submission, file in submissions:
            for index, run in enumerate(map(Path, submission["runs"])):
                place = f"*_{index}_0" if len(submission["runs"]) > 1 else "*_0"
                job = SlurmJob(logs_of(file) / place, *states.get((file.stem, index), ()))
                before = self.jobs.get(run)
                if not job.state and before is not None and before.files == job.files and not before.is_active:
                    job.state = before.state  # SLURM forgets a job some minutes after its end
                known[run] = job
        self.jobs = known

    def active(self, run: Path) -> SlurmJob | None:
        """The job of a run folder, if it waits or runs."""
        job = self.jobs.get(run.absolute())
        return job if job is not None and job.is_active else None


def logs_of(submission: Path) -> Path:
    """The folder of the logs of a submission, given its file."""
    return submission.parent / "logs" / submission.stem


def write_submission(file: Path, runs: Sequence[Path]) -> None:
    """Write down which runs are about to be submitted under the name of the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as stream:
        json.dump({"time": time.time(), "runs": [str(run.absolute()) for run in runs]}, stream)
