"""What every test relies on: nothing of this user's machine or of the network gets in."""

import os
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported: the threads of the processes that tests start
os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, so before any test is
os.environ["WANDB_MODE"] = "offline"
os.environ.pop("UFGIR_DATA", None)  # otherwise the runs of the tests would use the user's data


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a tiny data set in `data` and a cache folder of its own."""
    from tiny import make_data  # here: the controller of parallel tests needs no torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UFGIR_CACHE", str(tmp_path / "data" / ".cache"))
    make_data(tmp_path / "data")
    return tmp_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the selected `gpu` tests, saying why, on a machine without a CUDA device."""
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_tests:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
