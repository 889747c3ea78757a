"""The bounds that this project has set itself, each with the command that measures it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from ufgir.benchmarks.processes import best_of
from ufgir.reports.table import Table


@dataclass(frozen=True)
class Target:
    """A figure of one measurement that has to reach a bound.

    Attributes:
        name: what it is about.
        words: of the benchmark command.
        mode: `eval` or `train`.
        figure: a column of the benchmark, or `explicit_memory_saved`.
        at_least: the bound.
    """

    name: str
    words: tuple[str, ...]
    mode: str
    figure: str
    at_least: float


def _words(size: int, batch: int, reducer: str = "evit", backbone: str = "deit_s") -> tuple[str, ...]:
    return (
        f"backbone={backbone}", f"reducer={reducer}", "keep_rate=0.1", "plugins=clca", f"image_size={size}",
        f"optim.batch_size={batch}",
    )  # fmt: skip


REDUCERS = ("evit", "tome", "ats", "dyvit", "dpcknn", "sit", "patchmerger")
_CPU = ("trainer.accelerator=cpu",)
CPU = [
    Target("evaluation, 448 px, batch 4", (*_words(448, 4), *_CPU), "eval", "realised", 0.92),
    Target("evaluation, 224 px, batch 8", (*_words(224, 8), *_CPU), "eval", "realised", 0.90),
    Target("evaluation, 448 px, batch 1", (*_words(448, 1), *_CPU), "eval", "realised", 0.85),
    Target("evaluation, 224 px, batch 1", (*_words(224, 1), *_CPU), "eval", "realised", 0.72),
    *(Target(f"evaluation, {name}, 448 px, batch 4", (*_words(448, 4, name), *_CPU), "eval", "realised", 0.85)
      for name in REDUCERS[1:]),
    Target("training step, 448 px, batch 4", (*_words(448, 4), *_CPU), "train", "realised", 0.92),
    Target("training step, 224 px, batch 8", (*_words(224, 8), *_CPU), "train", "realised", 0.92),
    Target("evaluation against explicit attention", (*_words(448, 4), *_CPU), "eval", "explicit_speedup", 1.5),
    Target("training against explicit attention", (*_words(448, 4), *_CPU), "train", "explicit_speedup", 1.2),
    Target("peak memory of training saved", (*_words(448, 4), *_CPU), "train", "explicit_memory_saved", 1 / 3),
    Target("reducer=none against timm, 224 px, batch 8",
           ("backbone=deit_s", "reducer=none", "plugins=base", "image_size=224", "optim.batch_size=8", *_CPU),
           "eval", "speedup", 0.98),
]  # fmt: skip
_GPU = ("trainer.accelerator=gpu", "trainer.precision=16-mixed")
_GRAPHS = (*_GPU, "trainer.compile=true")
CUDA = [
    Target("evaluation, 448 px, batch 8", (*_words(448, 8, backbone="vit_b"), *_GPU), "eval", "speedup", 2.8),
    Target("evaluation, 448 px, batch 64", (*_words(448, 64, backbone="vit_b"), *_GPU), "eval", "speedup", 2.8),
    Target("evaluation, 448 px, batch 1, CUDA graphs",
           (*_words(448, 1, backbone="vit_b"), *_GRAPHS), "eval", "speedup", 1.0),
    Target("evaluation, 224 px, batch 1, CUDA graphs",
           (*_words(224, 1, backbone="vit_b"), *_GRAPHS), "eval", "speedup", 1.0),
    Target("training step, 448 px, batch 32", (*_words(448, 32, backbone="vit_b"), *_GPU), "train", "speedup", 2.6),
]  # fmt: skip
TARGETS = {"cpu": CPU, "cuda": CUDA}


def is_measurable(name: str) -> bool:
    """Whether this machine has the device that the targets `name` are about."""
    return name == "cpu" or torch.cuda.is_available()


def measure_targets(name: str, words: Sequence[str], processes: int) -> dict[Target, dict[str, Any]]:
    """The row behind each target; nothing on a machine without the device that they are about.

    Args:
        name: `cpu` or `cuda`.
        words: further words of the benchmark, for all measurements.
        processes: how many repeat each measurement.
    """
    if not is_measurable(name):
        print("targets=cuda: this machine has no CUDA device; nothing is measured.", file=sys.stderr)
        return {}
    asked: dict[tuple[tuple[str, ...], str], list[Target]] = {}  # several targets may be read off one measurement
    for target in TARGETS[name]:
        asked.setdefault((target.words, target.mode), []).append(target)
    found: dict[Target, dict[str, Any]] = {}
    for (chosen, mode), targets in asked.items():
        (row,) = best_of(processes, [*chosen, *words, f"mode={mode}"])
        for target in targets:
            print(f"{target.name}: {target.figure} {figure_of(row, target.figure)[1]}", file=sys.stderr, flush=True)
            found[target] = row
    return found


def figure_of(row: Mapping[str, Any], name: str) -> tuple[float, str]:
    """A figure of a row and its text, with an interval where it has one."""
    if name == "explicit_memory_saved":
        value = 1 - row["peak_memory_gb"] / row["explicit_peak_memory_gb"]
        return value, f"{value:.2f}"
    return row[name], f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"


def target_table(name: str, measured: Mapping[Target, Mapping[str, Any]]) -> Table:
    """Each target with what was measured, or that it was not."""
    lines = []
    for target in TARGETS[name]:
        row = measured.get(target)
        value, text = figure_of(row, target.figure) if row else (None, "not measured")
        verdict = "" if value is None else "met" if value >= target.at_least else "missed"
        lines.append({
            "what": target.name, "figure": target.figure, "at least": f"{target.at_least:.2f}", "measured": text,
            "": verdict,
        })  # fmt: skip
    frame = pd.DataFrame(lines)
    rows = list(measured.values())
    notes = [f"{rows[0]['device']}, {rows[0]['threads']} threads, torch {rows[0]['torch']}, timm {rows[0]['timm']}; "
             f"best of the medians of several processes: {rows[0].get('of_processes', 'one process')} in the first row."
             ] if rows else []  # fmt: skip
    return Table(f"targets_{name}", f"Targets, {name}", frame, frame, notes, heads=2)
