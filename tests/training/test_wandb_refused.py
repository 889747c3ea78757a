"""W&B that cannot be had: told before training starts, or the run is logged offline; a training is not lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import wandb

from tiny import WORDS, environment, make_data
from ufgir.errors import UfgirWarning, UserError
from ufgir.training import loggers
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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("API key must have 40+ signs.", "does not take this run (API key must have 40+ signs). Check the API key"),
        ("", "does not take this run (CommError). Check the API key"),
        ("Timed out while retrying\nConsider", "cannot be reached (Timed out while retrying). Check the network"),
    ],
)
def test_who_asked_for_wandb_online_is_refused_and_others_go_offline(monkeypatch, text, told):
    def opened(folder, run_id, config, facts, mode):
        if mode == "online":
            raise wandb.errors.CommError(text)
        return mode

    monkeypatch.setattr(loggers, "_opened", opened)
    monkeypatch.setattr(wandb, "teardown", lambda: None)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    for name in ("WANDB_MODE", "WANDB_SWEEP_ID", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def make(mode):
        return loggers.make_wandb_logger(Path("run"), "id", {"logger": {"mode": mode}}, {})

    with pytest.raises(UserError) as refused:
        make("online")
    assert f"logger.mode=online: W&B at https://api.wandb.ai {told}" in str(refused.value)
    assert "Or log with logger.mode=offline; `wandb sync` brings it up later." in str(refused.value)
    with pytest.warns(UfgirWarning) as warned:
        assert make("auto") == "offline"
    assert told in str(warned[0].message) and "This run is logged offline" in str(warned[0].message)
    monkeypatch.setenv("WANDB_SWEEP_ID", "search")  # whose agent would never hear of it
    with pytest.raises(UserError):
        make("auto")


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


@pytest.mark.slow
def test_a_key_that_wandb_does_not_know(cwd):
    with serving() as server:
        server.knows_key = False
        done = train(server.url)
    check(done, f"W&B at {server.url} does not take this run (")
    assert "user is not logged in" in done.stderr and "Check the API key (`wandb login --relogin`)" in done.stderr
    assert "`wandb sync` brings it up later" in done.stderr


@pytest.mark.slow
def test_no_network(cwd):
    done = train("http://127.0.0.1:9", WANDB_INIT_TIMEOUT="1")
    check(done, "W&B at http://127.0.0.1:9 cannot be reached (")
    assert os.path.exists("outputs")
