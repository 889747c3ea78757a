"""What the config asks of the machine that it runs on."""

from collections.abc import Iterator
from importlib.util import find_spec

import torch

from ufgir.config.messages import did_you_mean, nearest, typed


def uses_cuda(accelerator: str) -> bool:
    """Whether `trainer.accelerator` means CUDA on this machine."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def processes(trainer: dict) -> int:
    """How many processes share each batch: one for each device of each node."""
    devices = trainer["devices"]
    if isinstance(devices, list):
        devices = len(devices)
    elif devices in ("auto", -1):
        devices = torch.cuda.device_count() if uses_cuda(trainer["accelerator"]) else 1
    return devices * trainer["num_nodes"]


def machine_faults(config: dict) -> list[str]:
    """What this machine lacks for a run, in a sentence or two each.

    Args:
        config: as `resolve` returns it.
    """
    trainer = config["trainer"]
    checks = (_accelerator_faults, _device_faults, _precision_faults, _strategy_faults)
    return [text for check in checks for text in check(trainer)]


def _accelerator_faults(trainer: dict) -> Iterator[str]:
    accelerator = trainer["accelerator"]
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if not {"gpu": cuda or mps, "cuda": cuda, "mps": mps}.get(accelerator, True):
        kind = {"gpu": "GPU", "cuda": "CUDA device", "mps": "Apple GPU"}[accelerator]
        yield (
            f"trainer.accelerator={accelerator}: PyTorch finds no {kind} on this machine. "
            "Use trainer=default, which takes what there is, or trainer=cpu."
        )


def _device_faults(trainer: dict) -> Iterator[str]:
    devices, present = trainer["devices"], torch.cuda.device_count()
    if not uses_cuda(trainer["accelerator"]) or devices in ("auto", -1):
        return
    if (max(devices) + 1 if isinstance(devices, list) else devices) > present:
        found = "one CUDA device, number 0" if present == 1 else f"{present} CUDA devices, numbers 0 to {present - 1}"
        yield f"{typed('trainer.devices', devices)}: this machine has {found}. Give trainer.devices=-1 for all of them."


def _precision_faults(trainer: dict) -> Iterator[str]:
    accelerator, precision = trainer["accelerator"], trainer["precision"]
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if precision.startswith("16") and (accelerator == "cpu" or not has_gpu):
        yield (
            f"trainer.precision={precision}: 16-bit floats need a GPU; on the CPU Lightning would turn them into "
            "bfloat16, which is many times slower. Use trainer.precision=auto."
        )
    if precision.startswith("transformer-engine") and not find_spec("transformer_engine"):
        yield (
            f"trainer.precision={precision}: the package transformer_engine is not installed. "
            "Use trainer.precision=auto."
        )


def _strategy_faults(trainer: dict) -> Iterator[str]:
    strategy = trainer["strategy"]
    if strategy == "auto":
        return
    from lightning.pytorch.strategies import StrategyRegistry  # seconds to import, and seldom needed here

    known = StrategyRegistry.available_strategies()
    if strategy not in known:
        guesses = [f"trainer.strategy={guess}" for guess in nearest(strategy, known)]
        advice = did_you_mean(guesses) or " Use trainer.strategy=auto or ddp."
        yield f"trainer.strategy={strategy}: Lightning has no such strategy.{advice}"
