"""The learning rate of each epoch."""

import json
from pathlib import Path

import pytest

from ufgir.config.settings import schedule_epochs
from ufgir.training.schedule import epoch_rates

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "lr_schedule.json").read_text())["lr"]


def rates(epochs):
    warmup, cooldown = schedule_epochs(epochs)
    options = {"lr": 1e-4, "min_lr": 1e-5, "warmup_lr": 1e-6, "warmup_epochs": warmup, "cooldown_epochs": cooldown}
    return epoch_rates(options, epochs)


def test_all_fifty_epochs_of_the_paper():
    assert rates(50) == pytest.approx(GOLDEN, rel=1e-12)


def test_a_single_epoch_runs_at_the_base_rate():
    assert rates(1) == [1e-4]


@pytest.mark.parametrize("epochs", range(2, 60))
def test_every_length_warms_up_falls_and_cools_down(epochs):
    cooldown, values = min(5, epochs // 10), rates(epochs)
    warmup = min(2, epochs - cooldown - 1)
    assert len(values) == epochs
    assert values[0] == 1e-6
    assert values[warmup : epochs - cooldown] == sorted(values[warmup : epochs - cooldown], reverse=True)
    assert values[epochs - cooldown :] == [1e-5] * cooldown
