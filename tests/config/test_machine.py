"""What a machine lacks for a run."""

import pytest
import torch

from ufgir.config import machine_faults

HALF = "16-bit floats need a GPU; on the CPU Lightning would turn them into bfloat16, which is many times slower."


@pytest.fixture
def machine(monkeypatch):
    """Pretends that so many CUDA devices are there."""

    def pretend(devices: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return pretend


@pytest.mark.parametrize(
    ("line", "devices", "fault"),
    [
        ("trainer=gpu", 0, "trainer.accelerator=gpu: PyTorch finds no GPU on this machine. "
                           "Use trainer=default, which takes what there is, or trainer=cpu."),
        ("trainer.accelerator=cuda", 0, "trainer.accelerator=cuda: PyTorch finds no CUDA device on this machine. "
                                        "Use trainer=default, which takes what there is, or trainer=cpu."),
        ("trainer.devices=2", 1, "trainer.devices=2: this machine has one CUDA device, number 0. "
                                 "Give trainer.devices=-1 for all of them."),
        ("trainer.devices=[0,4]", 4, "trainer.devices=[0,4]: this machine has 4 CUDA devices, numbers 0 to 3. "
                                     "Give trainer.devices=-1 for all of them."),
        ("trainer.precision=16", 0, f"trainer.precision=16-mixed: {HALF} Use trainer.precision=auto."),
        ("trainer=cpu trainer.precision=16-true", 1, f"trainer.precision=16-true: {HALF} Use trainer.precision=auto."),
        ("trainer.precision=transformer-engine", 1, "trainer.precision=transformer-engine: the package "
                                                    "transformer_engine is not installed. Use trainer.precision=auto."),
        ("trainer.strategy=dpp", 0, "trainer.strategy=dpp: Lightning has no such strategy. "
                                    "Did you mean trainer.strategy=ddp?"),
        ("trainer.strategy=x", 0, "trainer.strategy=x: Lightning has no such strategy. "
                                  "Use trainer.strategy=auto or ddp."),
    ],
)  # fmt: skip
def test_faults(settings_of, machine, line, devices, fault):
    machine(devices)
    assert machine_faults(settings_of(line)) == [fault]


@pytest.mark.parametrize(
    ("line", "devices"),
    [("", 0), ("", 1), ("trainer=gpu", 1), ("trainer=ddp", 2), ("trainer.devices=2", 0), ("trainer.devices=[1]", 2),
     ("trainer.precision=16", 1), ("trainer.precision=bf16", 0)],
)  # fmt: skip
def test_sound_machines(settings_of, machine, line, devices):
    machine(devices)
    assert machine_faults(settings_of(line)) == []
