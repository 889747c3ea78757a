"""One GPU for each run of a multirun; here the GPUs are pretended, the processes and locks are real."""

import subprocess
import sys
import time
from types import SimpleNamespace

import torch

from ufgir.runs.lease import leased_gpu

TRAINER = {"accelerator": "auto", "devices": 1}
HOLD = """
import sys, time, torch
from types import SimpleNamespace
torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 2
torch.cuda.get_device_properties = lambda index: SimpleNamespace(uuid=f"test-{index}")
from ufgir.runs.lease import leased_gpu
with leased_gpu({"accelerator": "auto", "devices": 1}) as trainer:
    print(trainer["devices"][0], flush=True)
    time.sleep(60)
"""


def pretend(monkeypatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"test-{index}"))


def test_each_run_gets_a_free_gpu_and_a_killed_one_gives_it_back(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    pretend(monkeypatch, 2)
    monkeypatch.setattr("ufgir.runs.lease.WAIT", 0.1)
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    try:
        taken = int(holder.stdout.readline())
        with leased_gpu(TRAINER) as trainer:
            assert trainer["devices"] == [1 - taken]
            started = time.monotonic()
            holder.kill()
            with leased_gpu(TRAINER) as second:
                assert second["devices"] == [taken]
            assert time.monotonic() - started < 10
    finally:
        holder.kill()
        holder.communicate()


def test_nothing_is_leased_where_there_is_no_choice(monkeypatch):
    with leased_gpu({"accelerator": "cpu", "devices": 1}) as trainer:
        assert trainer["devices"] == 1
    pretend(monkeypatch, 1)
    with leased_gpu(TRAINER) as trainer:
        assert trainer["devices"] == 1
    pretend(monkeypatch, 8)
    with leased_gpu({"accelerator": "auto", "devices": 4}) as trainer:
        assert trainer["devices"] == 4, "a run over several GPUs has the machine"
