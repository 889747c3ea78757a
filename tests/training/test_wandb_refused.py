"""W&B that cannot be had: told before training starts, or the run is logged offline; a training is not lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiny import WORDS, environment, make_data
from wandb_server import serving

# One process, for the seconds that it takes to start: with a key that the server does not know, and with none for long.
TWICE = """
import os, sys
from ufgir.cli import run_command
from ufgir.train import train
words = sys.argv[1:]
print("online:", run_command(train, [*words, "logger.mode=online"]), sorted(os.listdir()), flush=True)
print("auto:", run_command(train, words), flush=True)
"""


@pytest.fixture
def cwd(tmp_path, monkeypatch) -> Path:
    make_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in environment().items() if not name.startswith("WANDB_")}
    wandb = {"WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40, "NO_PROXY": "*", "no_proxy": "*", **variables}
    words = (*WORDS, "dataset.root=data", "trainer.max_epochs=1", "logger=wandb")
    started = [sys.executable, "-c", TWICE, *words]
    return subprocess.run(started, env=kept | wandb, capture_output=True, text=True, timeout=110)


def check(done: subprocess.CompletedProcess[str], why: str) -> None:
    """Refused with `online`, which leaves nothing behind; logged offline with `auto`."""
    assert done.returncode == 0, done.stderr
    assert "online: 2 ['data']" in done.stdout and "auto: 0" in done.stdout, done.stdout + done.stderr
    assert f"logger.mode=online: {why}" in done.stderr and f"warning: {why}" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert len(list(Path("outputs").glob("*/wandb/offline-run-*/*.wandb"))) == 1


def test_a_key_that_wandb_does_not_know(cwd):
    with serving() as server:
        server.knows_key = False
        done = train(server.url)
    check(done, f"W&B at {server.url} does not take this run (user is not logged in). Check the API key")
    assert "`wandb sync` brings it up later" in done.stderr


@pytest.mark.slow
def test_no_network(cwd):
    done = train("http://127.0.0.1:9", WANDB_INIT_TIMEOUT="1")
    check(done, "W&B at http://127.0.0.1:9 cannot be reached (")
    assert os.path.exists("outputs")
