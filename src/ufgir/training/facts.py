"""What a run measures and prints: cost, memory, versions, and the tables on the screen."""

import platform
import re
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from rich.console import Console
from rich.table import Table

from ufgir.config import RunConfig, axes
from ufgir.config.schema import resolved_precision, uses_cuda
from ufgir.data import ImageDataModule
from ufgir.models import count_macs
from ufgir.models.cost import example_image


def measure(model: torch.nn.Module, image_size: int) -> dict[str, Any]:
    """`gmacs`, `params_m` and `tokens` (after each block, one image)."""
    return {
        "gmacs": round(count_macs(model, image_size) / 1e9, 4),
        "params_m": round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 4),
        "tokens": model.tokens_after_block(example_image(image_size)),
    }


def reset_peak_memory() -> None:
    """Count the peak from here on: an earlier run in this process may have used more."""
    if torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)
    try:  # Linux lets a process lower its high-water mark
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def peak_memory_gb(device: torch.device) -> float:
    """Peak memory in 10^9 bytes: of the allocator of a CUDA device, else the resident set of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def processor() -> str:
    """Name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def device_name(config: RunConfig) -> str:
    """The GPU; or the processor, its instructions and the threads, on which the digits and the speed depend."""
    if uses_cuda(config):
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"{processor()}, {torch.backends.cpu.get_cpu_capability()}, {threads} thread{'s' * (threads != 1)}"


def versions() -> dict[str, str]:
    """Of Python and of the packages that compute the numbers."""
    packages = ("ufgir", "torch", "torchvision", "timm", "lightning", "torchmetrics", "fvcore")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def print_start(name: str, config: RunConfig, data: L.LightningDataModule, measured: Mapping[str, Any]) -> None:
    """Print what a run is about to do."""
    splits = getattr(data, "splits", None)
    images = ""
    if isinstance(data, ImageDataModule):
        held, kind = (splits.val, "validation") if config.protocol == "val" else (splits.test, "test")
        images = f", {len(splits.train)} training and {len(held)} {kind} images"
    start = "pretrained" if config.backbone.pretrained or config.backbone.checkpoint else "from scratch"
    tokens, layers = measured["tokens"], config.reduction_layers
    epochs = config.trainer.max_epochs
    stages = ", ".join(f"{tokens[layer]} after block {layer}" for layer in layers)
    print_table(
        name,
        {
            "data": f"{config.dataset.name}: {data.num_classes} classes{images} (protocol={config.protocol})",
            "model": f"{axes(config)['backbone']}, {measured['params_m']:.2f} M parameters, {start}",
            "cost": f"{measured['gmacs']:.3f} GMACs an image at {config.image_size} px",
            "tokens": f"{tokens[0]} after block 0, {stages}, {tokens[-1]} at the end",
            "training": f"{epochs} epoch{'s' * (epochs != 1)}, batch {config.batch_size}, lr {config.optim.get('lr')}, "
            f"{resolved_precision(config)}, seed {config.seed}",
        },
    )


def print_results(name: str, results: Mapping[str, Any]) -> None:
    """Print the numbers of a finished run."""
    rows = {}
    for split in ("val", "test"):
        if f"{split}_top1" in results:
            images = results[f"{split}_images"]
            rows[f"{split} top-1"] = (
                f"{results[f'{split}_top1']:.2f} % of {images} images (top-5 {results[f'{split}_top5']:.2f} %)"
            )
    if "best_epoch" in results:
        rows["best epoch"] = str(results["best_epoch"])
    rows["cost"] = f"{results['gmacs']:.3f} GMACs, {results['params_m']:.2f} M parameters"
    rows["speed"] = f"{results['images_per_second']:.1f} images/s in the last evaluation"
    rows["training"] = f"{results['train_minutes']:.1f} minutes, peak memory {results['peak_memory_gb']:.2f} GB"
    print_table(name, rows)


def print_table(title: str, rows: Mapping[str, str]) -> None:
    """A small table with a heading."""
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for label, text in rows.items():
        table.add_row(label, text)
    console = Console(highlight=False)
    console.print(f"\n[bold]{title}[/bold]", soft_wrap=True)
    console.print(table)
