"""What every test relies on: nothing of this user's machine or of the network gets in."""

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, so before any test is
os.environ.pop("UFGIR_DATA", None)  # otherwise the runs of the tests would use the user's data


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the selected `gpu` tests, saying why, on a machine without a CUDA device."""
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_tests:
        return
    import torch  # costs seconds, which only they are worth

    if not torch.cuda.is_available():
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
