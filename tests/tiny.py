"""A data set and command lines small enough for tests that run the real program."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ufgir.config import load_config
from ufgir.data import write_splits
from ufgir.training.build import build_data, build_module, run_folder
from ufgir.training.checkpoint import save_weights
from ufgir.training.run import run as run_in_process
from ufgir.training.run_folder import RunFolder

CLASSES = 4
PER_CLASS = {"train": 3, "val": 1, "test": 2}
TINY = (
    "dataset=csv", "dataset.root=data", "backbone=micro", "backbone.pretrained=false", "reducer=evit", "keep_rate=0.5",
    "image_size=32", "batch_size=4", "optim.lr=5e-4", "dataset.num_workers=0", "trainer.accelerator=cpu",
    "trainer.max_epochs=2", "trainer.log_every_n_steps=1",
)  # fmt: skip


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


def train(*overrides: str, tiny: tuple[str, ...] = TINY) -> tuple[dict, Path]:
    """Train in this process, in the working directory: the results and the run folder."""
    config = load_config([*tiny, *overrides])
    run_in_process(config, [*tiny, *overrides])
    folder = run_folder(config, build_data(config))
    return folder.read_results(), folder.path


def make_run(folder: Path, data: Path, *overrides: str) -> RunFolder:
    """A finished run as it would be left behind, its weights drawn instead of trained."""
    config, run_folder = load_config([*TINY, f"dataset.root={data}", *overrides]), RunFolder(folder)
    module = build_data(config)
    torch.manual_seed(0)
    model = build_module(config, module).model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # otherwise every image would be of the same class
    run_folder.path.mkdir(parents=True)
    write_splits(module.splits, run_folder.splits)
    values = config.model_dump(by_alias=True)
    save_weights(run_folder.weights, model, values, module.class_names)
    run_folder.write_results({"status": "finished", "protocol": config.protocol, "config": values})
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
