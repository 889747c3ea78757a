"""One row of the benchmark: a model in one mode, against timm's own and against explicit attention."""

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from ufgir.benchmarks.contenders import EXPLICIT, OURS, UNREDUCED, contender, contenders
from ufgir.benchmarks.timing import interleaved, median_interval
from ufgir.config.machine import uses_cuda
from ufgir.cost import count_macs, example_image
from ufgir.models.backbones import config_name

KEYS = (
    "backbone", "reducer", "keep_rate", "plugins", "image_size", "batch_size", "mode", "precision", "compiled", "words",
)  # fmt: skip
TOLD = (
    "backbone", "reducer", "keep_rate", "plugins", "image_size", "optim.batch_size", "trainer.precision",
    "trainer.compile",
)  # fmt: skip  # words that have a column of their own
OUTSIDE = (
    "dataset", "data_root", "protocol", "augment", "logger", "callbacks", "keep", "output_root",
)  # fmt: skip  # settings of data and files, of which no step knows


def measure(
    job: Mapping[str, str], config: Mapping[str, Any], mode: str, *, classes: int, rounds: int
) -> dict[str, Any]:
    """Count and time one model.

    Args:
        job: the words that chose it.
        config: its resolved configuration.
        mode: `eval` (a forward pass) or `train` (a step: forward, backward, optimiser).
        classes: number of classes.
        rounds: measurements of each contender.

    Returns:
        the columns of the benchmark: what was measured, and figures of ours, of `unreduced` and of `explicit`.
        Speed-ups are medians of ratios between neighbours in time, with their intervals. `realised` is the speed-up
        over the unreduced model divided by the ratio of their MACs.
    """
    device = torch.device("cuda" if uses_cuda(config["trainer"]["accelerator"]) else "cpu")
    size, models = config["image_size"], contenders(config, classes)
    macs = {name: count_macs(models[name], size) for name in (OURS, UNREDUCED)}
    tokens = models[OURS].tokens_after_block(example_image(size))
    params = sum(parameter.numel() for parameter in models[OURS].parameters())
    ready = {name: contender(model, config, mode, device) for name, model in models.items()}
    seconds = interleaved({name: each.step for name, each in ready.items()}, rounds, device)
    row = {
        **identity(job, config, mode),
        "params_m": params / 1e6,
        "gmacs": macs[OURS] / 1e9,
        "tokens": " ".join(str(tokens[layer]) for layer in config["reduction_layers"]),
        "rounds": rounds,
        **_latencies("", seconds[OURS], config["optim"]["batch_size"]),
        **_memory("", ready[OURS], mode),
        "unreduced_gmacs": macs[UNREDUCED] / 1e9,
        "macs_ratio": macs[UNREDUCED] / macs[OURS],
    }
    for name in (UNREDUCED, EXPLICIT):
        row |= _latencies(f"{name}_", seconds[name], config["optim"]["batch_size"])
        row |= _memory(f"{name}_", ready[name], mode)
        row |= _ratio("speedup" if name == UNREDUCED else "explicit_speedup", seconds[name] / seconds[OURS])
    for end in ("", "_low", "_high"):
        row[f"realised{end}"] = row[f"speedup{end}"] / row["macs_ratio"]
    return row | machine(device)


def identity(job: Mapping[str, str], config: Mapping[str, Any], mode: str) -> dict[str, Any]:
    """The columns that say which measurement a row is."""
    rate = config["keep_rate"]
    values = (
        job.get("backbone") or config_name(config["backbone"]["name"], config["backbone"]["kwargs"]),
        config["reducer"]["name"],
        rate if isinstance(rate, float) else " ".join(map(str, rate)),
        config["plugins"]["name"],
        config["image_size"],
        config["optim"]["batch_size"],
        mode,
        config["trainer"]["precision"],
        config["trainer"]["compile"],
        other_words(job, config),
    )
    return dict(zip(KEYS, values, strict=True))


def other_words(job: Mapping[str, str], config: Mapping[str, Any]) -> str:
    """Those words of a job that change a model or its step and have no column: without them two models look alike.

    They are the same in whatever order and spelling they were typed, alone or among several values.
    """
    return " ".join(
        f"{name}={_in_force(name, typed, config)}"
        for name, typed in sorted(job.items())
        if name not in TOLD and name.partition(".")[0] not in OUTSIDE
    )


def _in_force(name: str, typed: str, config: Mapping[str, Any]) -> str:
    """The value of a setting; what was typed of a whole group, or of a name that the configuration knows otherwise."""
    value: Any = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None or isinstance(value, Mapping):
        return typed
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def machine(device: torch.device) -> dict[str, Any]:
    """What was measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    versions = {package: version(package) for package in ("torch", "timm")}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"device": name, "threads": torch.get_num_threads(), "cores": cores, **versions}


def _latencies(prefix: str, seconds: np.ndarray, batch: int) -> dict[str, float]:
    low, middle, high = np.percentile(seconds, (25, 50, 75))
    return {
        f"{prefix}images_per_second": batch / middle,
        f"{prefix}ms": 1e3 * middle,
        f"{prefix}ms_q1": 1e3 * low,
        f"{prefix}ms_q3": 1e3 * high,
    }


def _memory(prefix: str, ready: Any, mode: str) -> dict[str, float]:
    kept = {f"{prefix}activations_gb": ready.activations_gb()} if mode == "train" else {}
    return {f"{prefix}peak_memory_gb": ready.peak_gb(), **kept}


def _ratio(name: str, values: np.ndarray) -> dict[str, float]:
    low, high = median_interval(values)
    return {name: float(np.median(values)), f"{name}_low": low, f"{name}_high": high}


def _processor() -> str:
    """The processor's name, where Linux tells it."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
