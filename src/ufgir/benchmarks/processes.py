"""The same benchmark in several processes, one after the other: the best of each row, the others beside it.

Where a process happens to place its memory decides a few percent of its speed; the best of several shows what the code
can do, on which a busy machine only ever takes away.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ufgir.benchmarks.measure import KEYS
from ufgir.errors import RunFailed


def best_of(processes: int, words: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the models, each from the process in which its speed-up was highest.

    Raises:
        RunFailed: one of the processes failed.
    """
    found: dict[tuple, list[dict[str, Any]]] = {}
    for number in range(processes):
        with tempfile.TemporaryDirectory() as folder:
            print(f"process {number + 1} of {processes}", file=sys.stderr, flush=True)
            command = [sys.executable, "-m", "ufgir.benchmark", *words, "processes=1", f"out={folder}"]
            if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
                raise RunFailed("a process of the benchmark failed; what it said stands above.")
            content = json.loads((Path(folder) / "benchmark.json").read_text())
        for row in content["models"]:
            found.setdefault(tuple(row[key] for key in KEYS), []).append(row)
    return [
        max(rows, key=lambda row: row["speedup"])
        | {"of_processes": " ".join(f"{row['speedup']:.3f}" for row in rows)}
        for rows in found.values()
    ]
