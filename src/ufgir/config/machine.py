"""What the config asks of the machine that it runs on."""

from importlib.util import find_spec

import torch

from ufgir.config.messages import did_you_mean, nearest, typed


def uses_cuda(accelerator: str) -> bool:
    """Whether `trainer.accelerator` means CUDA on this machine."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def machine_faults(config: dict) -> list[str]:
    """What this machine lacks for the settings of a run.

    Args:
        config: plain and without other faults.
    """
    trainer = config["trainer"]
    checks = (_accelerator_fault, _device_fault, _precision_fault, _strategy_fault)
    return [text for check in checks if (text := check(trainer))]


def _accelerator_fault(trainer: dict) -> str | None:
    accelerator = trainer["accelerator"]
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    present["gpu"] = any(present.values())
    if present.get(accelerator, True):
        return None
    kind = {"gpu": "GPU", "cuda": "CUDA device", "mps": "Apple GPU"}[accelerator]
    return f"trainer.accelerator={accelerator}: PyTorch finds no {kind} on this machine. Use trainer=default or trainer=cpu."


def _device_fault(trainer: dict) -> str | None:
    devices = trainer["devices"]
    if not uses_cuda(trainer["accelerator"]) or devices in ("auto", -1):
        return None
    present = torch.cuda.device_count()
    wanted = max(devices) + 1 if isinstance(devices, list) else devices
    if wanted <= present:
        return None
    return (
        f"{typed('trainer.devices', devices)}: this machine has {present} CUDA device{'s' * (present > 1)}, numbered "
        f"from 0. Give trainer.devices={present} or fewer, or -1 for all."
    )


def _precision_fault(trainer: dict) -> str | None:
    precision = str(trainer["precision"])
    if precision.startswith("transformer-engine") and not find_spec("transformer_engine"):
        return f"trainer.precision={precision}: the package transformer_engine is not installed. Use trainer.precision=auto."
    on_cpu = trainer["accelerator"] == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    if on_cpu and precision.startswith("16"):
        return (
            f"trainer.precision={precision}: half precision needs a GPU; on the CPU it would silently become bfloat16, "
            "which is many times slower. Use trainer.precision=auto."
        )
    return None


def _strategy_fault(trainer: dict) -> str | None:
    strategy = trainer["strategy"]
    if strategy == "auto":
        return None
    from lightning.pytorch.strategies import StrategyRegistry  # seconds to import, and seldom needed here

    known = StrategyRegistry.available_strategies()
    if strategy in known:
        return None
    guesses = [f"trainer.strategy={guess}" for guess in nearest(strategy, known)]
    return f"trainer.strategy={strategy}: Lightning has no such strategy.{did_you_mean(guesses) or ' Use auto or ddp.'}"
