"""Many stub jobs through the real sweeper and the basic launcher, with crashes and kills."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tiny import WORDS, environment, make_data

JOBS = int(os.environ.get("UFGIR_STUB_JOBS", "150"))  # 2,025 by hand
STUB = """
import os, random, resource, sys
import ufgir.train as train
from ufgir.cli import run_command
from ufgir.errors import RunFailed

def start_run(plan):
    folder = plan.folder
    with folder.occupied():
        assert not folder.is_finished(), "finished runs are not started again"
        pages = int(open("/proc/self/statm").read().split()[1])
        failed = random.random() < 0.05
        with open("log.txt", "a") as log:
            log.write(f"{plan.config['seed']} {'failed' if failed else 'done'} {pages * 4096}\\n")
        before = folder.read_results() or {"attempts": 0}
        if failed:
            folder.write_results({"status": "failed", "reason": "stub", "attempts": before["attempts"] + 1})
            raise RunFailed("stub")
        folder.write_results({"status": "finished", "train_minutes": 0.1})

train.start_run = start_run
sys.exit(run_command(train.train))
"""


@pytest.mark.slow
def test_none_is_lost_none_is_done_twice_and_memory_stays_flat(tmp_path, monkeypatch):
    make_data(tmp_path / "data")
    grid = {"name": "many", "words": ["dataset.root=data", *WORDS], "union": [{"seed": list(range(1, JOBS + 1))}]}
    file = tmp_path / "mine" / "sweeps" / "sweep" / "many.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package hydra.sweeper\n" + yaml.safe_dump(grid))
    (tmp_path / "stub.py").write_text(STUB)
    monkeypatch.setenv("UFGIR_PATH", str(tmp_path / "mine"))
    run = [sys.executable, "stub.py", "--multirun", "sweep=many"]
    quiet = {"cwd": tmp_path, "env": environment(), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    moments = random.Random(0)
    for part in (0.2, 0.4, 0.6):
        process = subprocess.Popen(run, **quiet)
        while len(log_of(tmp_path)) < part * JOBS and process.poll() is None:
            time.sleep(0.5)
        time.sleep(moments.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
    for _ in range(3):
        if subprocess.run(run, **quiet, timeout=3600).returncode == 0:
            break
    log = log_of(tmp_path)
    done = Counter(seed for seed, state, _ in log if state == "done")
    assert set(done) == {str(seed) for seed in range(1, JOBS + 1)}, "none is lost"
    assert set(done.values()) == {1}, "none is done twice"
    assert any(state == "failed" for _, state, _ in log)
    longest = max(spans(log), key=len)
    growth = longest[-1] - longest[len(longest) // 3]
    assert growth < 40e6 + 20e3 * len(longest), f"the launcher grew by {growth / 1e6:.0f} MB"


def log_of(folder: Path) -> list[list[str]]:
    file = folder / "log.txt"
    return [line.split() for line in file.read_text().splitlines() if line.count(" ") == 2] if file.exists() else []


def spans(log: list[list[str]]) -> list[list[int]]:
    """Memory of each launcher, by the drops where another one begins."""
    spans: list[list[int]] = [[]]
    for _, _, size in log:
        if spans[-1] and int(size) < 0.9 * spans[-1][-1]:
            spans.append([])
        spans[-1].append(int(size))
    return spans
