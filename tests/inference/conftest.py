"""A small data set and a finished run that every test here may read."""

import os
from pathlib import Path

import pytest

import tiny


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """A folder with the data set `da,ta (1)` and the finished `run` on it, which drew pictures of tokens."""
    folder = tmp_path_factory.mktemp("inference")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        tiny.make_data(Path("data"))
        _, run = tiny.train("callbacks=tokens", "plugins=clca", "trainer.max_epochs=1")
        os.rename("data", "da,ta (1)")  # what a run tests is found where the user says that it is now
        (folder / "run").symlink_to(run.absolute())
    return folder


@pytest.fixture
def here(home, tmp_path, monkeypatch) -> Path:
    """An empty working folder with links to that run and its data."""
    monkeypatch.chdir(tmp_path)
    for name in ("da,ta (1)", "run"):
        Path(name).symlink_to(home / name)
    return tmp_path
