"""A data set, and a command line, small enough for every test that runs the real program."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ufgir.config import compose_run, resolve, save_config
from ufgir.data import load_source, write_tables
from ufgir.runs.build import build_model
from ufgir.runs.folder import RunFolder
from ufgir.training.checkpoint import save_weights

CLASSES = 4
PER_CLASS = {"train": 3, "val": 1, "test": 2}
WORDS = (
    "dataset=csv", "backbone=micro", "reducer=evit", "keep_rate=0.5", "image_size=32", "optim.batch_size=4",
    "optim.lr=5e-4", "dataset.num_workers=0", "trainer.accelerator=cpu",
)  # fmt: skip

GPU_IS_FULL = (
    "CUDA out of memory. Tried to allocate {asked}. GPU 0 has a total capacity of 23.69 GiB of which {free} is free. "
    "Process 4711 has 23.18 GiB memory in use. Of the allocated memory 22.10 GiB is allocated by PyTorch, and 310.21 "
    "MiB is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting "
    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)  # what torch says


def make_data(root: Path) -> Path:
    """Colour noise with the class in its hue, as split CSVs and images below `images/`: 16 to train on, 8 to test."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[str]] = {split: [] for split in (*PER_CLASS, "train_val")}
    for class_id in range(CLASSES):
        folder = root / "images" / f"kind_{class_id}"
        folder.mkdir(parents=True)
        for split, count in PER_CLASS.items():
            for number in range(count):
                pixels = rng.integers(0, 100, (40, 40, 3)) + 40 * np.array([class_id & 1, class_id >> 1, 1])
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{split}_{number}.png")
                row = f"{class_id},kind_{class_id}/{split}_{number}.png"
                rows[split].append(row)
                if split != "test":
                    rows["train_val"].append(row)
    for split, lines in rows.items():
        (root / f"{split}.csv").write_text("\n".join(["class_id,dir", *lines]) + "\n")
    return root


def make_run(folder: Path, data: Path, *words: str) -> RunFolder:
    """A finished run on a data set of `make_data` as it would be left behind, its weights drawn instead of trained."""
    composed, faults = compose_run([*WORDS, f"dataset.root={data}", *words])
    assert not faults
    config, run_folder = resolve(composed), RunFolder(folder)
    source = load_source(config["dataset"], protocol=config["protocol"], seed=config["seed"])
    torch.manual_seed(0)
    model = build_model(config, source.num_classes, with_weights=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # otherwise every image would be of the same class
    run_folder.splits.mkdir(parents=True)
    write_tables(source.tables, run_folder.splits)
    save_config(config, run_folder.config)
    save_weights(run_folder.weights, model, config, source.class_names)
    run_folder.write_results({"status": "finished"})
    return run_folder


def command(module: str, *words: str) -> list[str]:
    """The command line of `python -m ufgir.<module>`."""
    return [sys.executable, "-m", f"ufgir.{module}", *words]


def environment() -> dict[str, str]:
    """The environment of a command: as many threads in every process, so that its numbers can be compared."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}


def run(module: str, *words: str, cwd: Path, timeout: float = 100) -> subprocess.CompletedProcess[str]:
    """Run a command of the package to its end in `cwd`."""
    return subprocess.run(
        command(module, *words), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout
    )


def results_of(finished: subprocess.CompletedProcess[str], cwd: Path) -> dict:
    """The results.json that the last line of a finished training names."""
    assert finished.returncode == 0, finished.stderr
    last = finished.stdout.strip().splitlines()[-1]
    assert last.startswith("results: ")
    return json.loads((cwd / last.removeprefix("results: ")).read_text())


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """As on a full disk: no file of this process may hold more than so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
