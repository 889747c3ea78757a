"""The most memory held is counted anew for each run."""

import pytest
import torch

from ufgir.peak import CLEAR, forget_peak, peak_memory_gb


@pytest.mark.skipif(not CLEAR.exists(), reason="only Linux lets a process lower its highest mark")
def test_what_an_earlier_run_held_is_not_counted():
    held = torch.ones(100_000_000)
    before = peak_memory_gb(held.device)
    del held
    forget_peak()
    after = peak_memory_gb(torch.device("cpu"))
    assert 0 < after < before - 0.35
