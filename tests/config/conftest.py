"""Composing as the command line does."""

import os
from pathlib import Path

import pytest
import torch

from ufgir.config import compose_run, resolve


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch) -> Path:
    """The working directory, which stays empty: composing and checking write nothing."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    assert os.listdir(folder) == []


@pytest.fixture(autouse=True)
def no_cuda(monkeypatch) -> None:
    """The same precision on every machine that runs the tests."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(scope="session")
def faults_of():
    """The faults of a command line, given in one string whose words are parted by spaces."""

    def faults(line: str) -> list[str]:
        return compose_run(line.split())[1]

    return faults


@pytest.fixture(scope="session")
def settings_of():
    """The resolved settings of a sound command line."""

    def settings(line: str = "") -> dict:
        config, faults = compose_run(line.split())
        assert faults == []
        return resolve(config)

    return settings
