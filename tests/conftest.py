"""What every test relies on: nothing of this user's machine or of the network gets in."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported: the threads of the processes that tests start
os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, so before any test is
os.environ["WANDB_MODE"] = "offline"
os.environ.pop("UFGIR_DATA", None)  # otherwise the runs of the tests would use the user's data


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["UFGIR_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a tiny data set in `data`."""
    from tiny import make_data  # here: the controller of parallel tests needs no torch

    monkeypatch.chdir(tmp_path)
    make_data(tmp_path / "data")
    return tmp_path


class Done(NamedTuple):
    """A command that has ended: its exit code, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_ufgir(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Done]]:
    """Runs `python -m ufgir.COMMAND ...` within this process."""
    from ufgir.cli import run_command

    def run(command: str, *words: str) -> Done:
        module = import_module(f"ufgir.{command}")
        module = module if hasattr(module, "main") else import_module(f"ufgir.{command}.__main__")
        monkeypatch.setattr(sys, "argv", [command])
        capsys.readouterr()
        code = run_command(module.main, words, usage=None if command == "train" else module.__doc__)
        return Done(code, *capsys.readouterr())

    handlers, level = logging.root.handlers[:], logging.root.level
    yield run
    logging.root.handlers[:] = handlers  # Hydra sets its own
    logging.root.setLevel(level)
