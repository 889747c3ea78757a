"""The folder of one run: what lies where, who is working in it, and its results."""

import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ufgir.errors import UserError
from ufgir.files import written_whole

LOOK = 1.0  # seconds; `state` of another process holds the lock for an instant, only to see whether anyone does


class RunFolder:
    """`<output_root>/<slug>-<hash>`.

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.splits = path / "splits"
        self.metrics = path / "metrics.csv"
        self.checkpoint = path / "last.ckpt"  # to resume from
        self.weights = path / "model.pt"
        self.tokens = path / "tokens"  # pictures
        self.results = path / "results.json"
        self.begun = path / ".begun"  # while an attempt lasts; it stays behind if the process is killed

    @property
    def name(self) -> str:
        """`<slug>-<hash>`."""
        return self.path.name

    @property
    def id(self) -> str:
        """The hash, which is also the run's id at Weights & Biases."""
        return self.name.rsplit("-", 1)[-1]

    def read_results(self) -> dict[str, Any] | None:
        """What `results.json` says, or None while there is none."""
        return json.loads(self.results.read_text()) if self.results.is_file() else None

    def is_finished(self) -> bool:
        """Whether the run has come to its end."""
        results = self.read_results()
        return results is not None and results["status"] == "finished"

    def state(self) -> str:
        """`finished`, `failed`, `running`, `interrupted` (it will go on from its last whole epoch) or `missing`."""
        if not self.path.is_dir():
            return "missing"
        results = self.read_results()
        if results is not None and results["status"] == "finished":
            return "finished"
        if self._is_occupied():
            return "running"
        if results is not None:
            return "failed"
        return "interrupted" if self.checkpoint.is_file() else "missing"

    def _is_occupied(self) -> bool:
        lock = FileLock(self.path / ".lock", timeout=0)
        if not (self.path / ".lock").exists():
            return False
        try:
            with lock:
                return False
        except Timeout:
            return True

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Leave a mark for as long as an attempt lasts: it is all that a process which is killed leaves of it."""
        with written_whole(self.begun) as stream:
            stream.write(str(_written(self.checkpoint)))
        try:
            yield
        finally:
            self.begun.unlink(missing_ok=True)

    def was_cut_short(self) -> bool:
        """Whether the last attempt was killed before it came to a new whole epoch, unless it is still going on."""
        return self.begun.is_file() and self.begun.read_text() == str(_written(self.checkpoint))

    def trace(self) -> tuple[int | None, ...]:
        """When results, checkpoint and mark were written, by which one sees what has been done here since."""
        return tuple(_written(file) for file in (self.results, self.checkpoint, self.begun))

    def write_failure(self, reason: str, config: Mapping[str, Any], *, counts: bool = True) -> None:
        """Say in `results.json` why an attempt failed and how many have, if the disk takes it.

        Args:
            reason: for the user.
            config: of the run.
            counts: as an attempt, of which a sweep allows a few.
        """
        with suppress(OSError):
            before = self.read_results() or {"attempts": 0}
            attempts = before.get("attempts", 1) + counts
            facts = {"status": "failed", "reason": reason, "attempts": attempts, "seed": config["seed"]}
            self.write_results({**facts, "config": dict(config)})

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write `results.json` whole or not at all."""
        with written_whole(self.results) as stream:
            stream.write(json.dumps(results, indent=2) + "\n")

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Make the folder and keep every other process out of it; the system frees it when this process dies.

        If a mistake of the user's comes to light inside and the folder is new, it is taken away again, unless training
        has left something to go on from.

        Raises:
            UserError: another live process works in it.
        """
        made = [place for place in (self.path, *self.path.parents) if not place.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        owner = self.path / ".owner"
        lock = FileLock(self.path / ".lock", timeout=LOOK)
        try:
            lock.acquire()
        except Timeout:
            who = owner.read_text() if owner.is_file() else "another process"
            raise UserError(f"{self.path} is being worked on by {who}. Wait for it, or stop it first.") from None
        try:
            started = datetime.now().isoformat(sep=" ", timespec="seconds")
            with written_whole(owner) as stream:
                stream.write(f"process {os.getpid()} on {socket.gethostname()} since {started}")
            yield
        except UserError:
            if made and not self.checkpoint.exists():
                shutil.rmtree(self.path, ignore_errors=True)
            for above in made[1:]:
                with suppress(OSError):  # another run has begun there
                    above.rmdir()
            raise
        finally:
            owner.unlink(missing_ok=True)
            lock.release()


def _written(file: Path) -> int | None:
    """When a file was written, nanoseconds; None if it is not there."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None
