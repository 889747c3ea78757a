"""Timing of models: steps in PyTorch and ONNX Runtime, paired measurements, and the memory of a step."""

import ctypes
import gc
import math
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from lightning import Fabric
from torch import Tensor, nn

from ufgir.compare import build_model, count
from ufgir.config import RunConfig
from ufgir.config.schema import resolved_precision, uses_cuda
from ufgir.models import count_macs
from ufgir.training.facts import peak_memory_gb, processor, reset_peak_memory
from ufgir.training.module import LitClassifier

SECONDS = 0.1  # least duration of one measurement; quicker steps are repeated within it
LEVEL = 0.95  # of the interval of a median
CLEAR_REFS = Path("/proc/self/clear_refs")  # with it Linux lets a process measure its peak again


def measure_model(
    job: dict[str, str], config: RunConfig, mode: str, engine: str, *, classes: int, rounds: int
) -> dict[str, Any]:
    """One row of the benchmark: counts, times, memory, and what it was measured on. `timm_*` is the unreduced model.

    `job` are the overrides that chose the model, mode is `eval` or `train`, engine `torch` or `onnxruntime`.

    Raises:
        RunFailed: the model cannot be exported for the engine.
    """
    torch.manual_seed(config.seed)
    backbone, size = config.backbone, config.image_size
    ours = build_model(config, classes)
    baseline = timm.create_model(backbone.name, num_classes=classes, img_size=size, **backbone.kwargs)
    macs_ratio = count_macs(baseline, size) / count_macs(ours, size)
    row = {**count(job, config, ours), "batch_size": config.batch_size, "mode": mode, "engine": engine}
    prepare = {"torch": TorchSteps, "onnxruntime": OnnxRuntimeSteps}[engine]
    steps = {"": prepare(ours, config, mode), "timm_": prepare(baseline, config, mode)}
    ours_seconds, timm_seconds = paired_seconds(steps[""].step, steps["timm_"].step, rounds, steps[""].device)
    for prefix, values in (("", ours_seconds), ("timm_", timm_seconds)):
        low, middle, high = 1e3 * np.percentile(values, (25, 50, 75))
        row |= {f"{prefix}images_per_second": 1e3 * config.batch_size / middle, f"{prefix}ms": middle}
        row |= {f"{prefix}ms_q1": low, f"{prefix}ms_q3": high}
        row[f"{prefix}peak_memory_gb"] = steps[prefix].peak_memory_gb()
    ratios = timm_seconds / ours_seconds
    low, high = median_interval(ratios)
    row |= {"speedup": float(np.median(ratios)), "speedup_low": low, "speedup_high": high, "macs_ratio": macs_ratio}
    row |= {f"efficiency{end}": row[f"speedup{end}"] / macs_ratio for end in ("", "_low", "_high")}
    return row | {"rounds": rounds, **steps[""].environment}


class TorchSteps:
    """Steps of a model in PyTorch on a batch of noise, which is on the device.

    Precision and the scaling of gradients are Lightning's, as in a run; the optimizer is that of the configuration.
    """

    def __init__(self, model: nn.Module, config: RunConfig, mode: str) -> None:
        self.compile, precision = config.trainer.compile, resolved_precision(config)
        devices = config.trainer.devices[:1] if isinstance(config.trainer.devices, list) else 1
        self.fabric = Fabric(accelerator=config.trainer.accelerator, devices=devices, precision=precision)
        self.device, self.original, self.optimizer = self.fabric.device, model.train(mode == "train"), None
        model.set_grad_checkpointing(config.trainer.gradient_checkpointing)
        if self.compile:  # a single image waits for its kernels to be launched, unless they are one graph
            model.compile(mode="reduce-overhead" if mode == "eval" and uses_cuda(config) else "default")
        if mode == "train":
            module = LitClassifier(model, num_classes=model.num_classes, optim=config.optim)
            optimizer = module.configure_optimizers()["optimizer"]
            self.model, self.optimizer = self.fabric.setup(model, optimizer)
        else:
            self.model = self.fabric.setup(model)
        self.images = noise(config).to(self.device)
        self.targets = (torch.arange(config.batch_size) % model.num_classes).to(self.device)
        self.environment = {"precision": precision, "compile": self.compile, **machine(self.device)}

    def step(self) -> Tensor | None:
        """One forward pass, which returns the logits, or one step of training."""
        if self.optimizer is None:
            with torch.inference_mode():
                return self.model(self.images)
        loss = F.cross_entropy(self.model(self.images), self.targets)
        if hasattr(self.original, "reducer_loss"):
            loss = loss + self.original.reducer_loss()
        self.fabric.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def peak_memory_gb(self) -> float:
        """Weights, state of the optimizer, and the most that one step adds, in 10^9 bytes.

        Counted by the allocator on CUDA, where a CUDA graph hides it, and by the resident set on Linux; else NaN.
        """
        is_cuda = self.device.type == "cuda"
        if (is_cuda and self.compile and self.optimizer is None) or not (is_cuda or CLEAR_REFS.exists()):
            return math.nan
        tensors = [*self.original.parameters(), *self.original.buffers()]
        for entry in self.optimizer.state.values() if self.optimizer else ():
            tensors += [value for value in entry.values() if isinstance(value, torch.Tensor)]
        held = sum(tensor.nbytes for tensor in tensors) / 1e9
        self.step()
        before = allocated_gb(self.device)
        reset_peak_memory()
        self.step()
        return held + peak_memory_gb(self.device) - before


class OnnxRuntimeSteps:
    """Steps of a model in ONNX Runtime on the CPU: the file that `python -m ufgir.export format=onnx` writes."""

    def __init__(self, model: nn.Module, config: RunConfig, mode: str) -> None:
        import onnxruntime  # an optional package

        from ufgir.export.graph import save_onnx

        self.device, self.images = torch.device("cpu"), noise(config)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            save_onnx(model.eval(), self.images[:2], file, config.reducer.name)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.inputs = {self.session.get_inputs()[0].name: self.images.numpy()}
        self.environment = {"precision": "32-true", "compile": False, **machine(self.device)}
        self.environment["onnxruntime"] = onnxruntime.__version__

    def step(self) -> list[np.ndarray]:
        """One forward pass; returns the logits."""
        return self.session.run(None, self.inputs)

    def peak_memory_gb(self) -> float:
        """NaN: ONNX Runtime keeps what it once allocated, so a step has no peak of its own."""
        return math.nan


def noise(config: RunConfig) -> Tensor:
    """Images (B, 3, S, S)."""
    generator = torch.Generator().manual_seed(config.seed)
    return torch.randn(config.batch_size, 3, config.image_size, config.image_size, generator=generator)


def paired_seconds(
    first: Callable[[], Any], second: Callable[[], Any], rounds: int, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of two steps, (rounds,) each; equal positions were measured one after the other, in alternating order.

    Both have run at least three times before the first measurement.
    """
    steps, repeats = (first, second), []
    for step in steps:
        time_step(step, 2, device)
        repeats.append(max(1, math.ceil(SECONDS / time_step(step, 1, device))))
    seconds = np.zeros((2, rounds))
    for number in range(rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            seconds[which, number] = time_step(steps[which], repeats[which], device)
    return seconds[0], seconds[1]


def time_step(step: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Mean seconds of a step; the device has finished at both clock reads."""
    wait = partial(torch.accelerator.synchronize, device) if device.type != "cpu" else lambda: None
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    wait()
    return (time.perf_counter() - start) / repeats


def median_interval(values: np.ndarray) -> tuple[float, float]:
    """The interval of the median of `values` (n,) at `LEVEL`, by the sign test; n is at least 6.

    It is the narrowest symmetric pair of order statistics that misses the median with probability at most 1 - LEVEL.
    """
    ordered, count = sorted(map(float, values)), len(values)
    outside, rank = 0.0, 0
    while (outside := outside + math.comb(count, rank) / 2**count) <= (1 - LEVEL) / 2:
        rank += 1
    return ordered[rank - 1], ordered[count - rank]


def allocated_gb(device: torch.device) -> float:
    """Memory in use now, in 10^9 bytes: the allocator's on CUDA, else the resident set without freed memory."""
    gc.collect()
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 1e9
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # or what the C library holds back would count as in use
        libc.malloc_trim(0)
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e9


def machine(device: torch.device) -> dict[str, Any]:
    """Device, threads and versions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__, "timm": timm.__version__}
