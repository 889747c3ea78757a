"""The folder of one run: its files, its lock and its state."""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ufgir.errors import UserError
from ufgir.utils import atomic_write

LOCK_TIMEOUT = 1.0  # seconds; `state` of another process holds the lock for an instant, to see whether it is free


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
        self.predictions = path / "predictions.csv"  # of the images that were tested, or validated with protocol=val
        self.checkpoint = path / "last.ckpt"  # to resume from
        self.best = path / "best.ckpt"
        self.weights = path / "model.pt"
        self.results = path / "results.json"
        self._attempt = path / ".attempt"
        self._lock = path / ".lock"

    @property
    def name(self) -> str:
        """`<slug>-<hash>`."""
        return self.path.name

    @property
    def id(self) -> str:
        """The hash, which is also the run's id at Weights & Biases."""
        return self.name.rpartition("-")[2]

    def read_results(self) -> dict[str, Any] | None:
        """The content of `results.json`; None while there is none, or if it is damaged."""
        try:
            results = json.loads(self.results.read_text())
        except (OSError, ValueError):
            return None
        return results if isinstance(results, dict) and results.get("status") in ("finished", "failed") else None

    def is_finished(self) -> bool:
        return (self.read_results() or {}).get("status") == "finished"

    def state(self) -> str:
        """`finished`, `running`, `failed`, `interrupted` (it continues from its last whole epoch) or `missing`."""
        results = self.read_results()
        if results is not None and results["status"] == "finished":
            return "finished"
        if self._is_locked():
            return "running"
        if results is not None:
            return "failed"
        return "interrupted" if self.checkpoint.is_file() else "missing"

    def _is_locked(self) -> bool:
        if not self._lock.exists():
            return False
        try:
            with FileLock(self._lock, timeout=0):
                return False
        except Timeout:
            return True

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folder and keep other processes out of it; the system frees the lock when this process dies.

        Raises:
            UserError: another process works in it, or it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._lock, timeout=LOCK_TIMEOUT)
            lock.acquire()
        except Timeout:
            owner = self.last_attempt().get("owner", "another process")
            raise UserError(f"{self.path} is in use by {owner}. Wait for it, or stop it first.") from None
        except OSError as error:
            raise UserError(f"output_root={self.path.parent}: cannot be written ({error.strerror}).") from error
        try:
            yield
        finally:
            lock.release()

    def begin_attempt(self) -> None:
        """Record that an attempt starts, and by which process."""
        started = datetime.now().isoformat(sep=" ", timespec="seconds")
        owner = f"process {os.getpid()} on {socket.gethostname()} since {started}"
        attempt = {"number": self.attempts() + 1, "progress": _modified(self.checkpoint), "owner": owner}
        with atomic_write(self._attempt) as stream:
            json.dump(attempt, stream)

    def attempts(self) -> int:
        """Attempts since the last new epoch: a run that is cut off and resumed again and again makes progress."""
        attempt = self.last_attempt()
        return attempt.get("number", 0) if attempt.get("progress") == _modified(self.checkpoint) else 0

    def last_attempt(self) -> dict[str, Any]:
        """What the last attempt recorded when it started: `number`, `progress` and `owner`; empty before the first."""
        try:
            return json.loads(self._attempt.read_text())
        except (OSError, ValueError):
            return {}

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write `results.json` whole or not at all."""
        with atomic_write(self.results) as stream:
            stream.write(json.dumps(results, indent=2) + "\n")


def _modified(file: Path) -> int | None:
    """When a file was written, nanoseconds; None if it does not exist."""
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return None
