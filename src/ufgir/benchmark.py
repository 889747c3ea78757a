"""Speed and memory of models on this machine, against timm's model without reduction.

    python -m ufgir.benchmark reducer=evit,tome keep_rate=0.1 image_size=224,448 batch_size=4

Arguments are those of training, `--config-dir DIR` among them. Values separated by commas give several models.
In addition:

mode     eval: a forward pass (default); train: forward, backward and optimizer; mode=eval,train measures both
engine   torch (default); onnxruntime: the exported file on the CPU, mode=eval only; engine=torch,onnxruntime: both
rounds   pairs of measurements, at least 6 (default: 15)
threads  of the CPU (default: torch's)
classes  number of classes of the classifier (default: 200)
out      FILE.csv for all columns; device, threads, precision and versions beside each row

A model and timm's own take turns; in every second pair the order is reversed. The first steps of each are discarded,
inputs are on the device, and both clock reads wait for it. A speed-up is the median of the ratios within the pairs,
with its 95 % interval. Efficiency is the speed-up divided by the ratio of the MACs: 1 means that all that is saved in
operations is saved in time. Weights are random, images are noise, of which ATS keeps more tokens than of photographs.
Where other programs use the cores, too, times and ratios are not reliable: leave them free, or lower threads.
"""

import math
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from ufgir.cli import DONE, FAILED, run_command
from ufgir.compare import expand_configs, split_arguments
from ufgir.config import RunConfig
from ufgir.config.checks import check_machine
from ufgir.errors import RunFailed, UfgirWarning, UserError
from ufgir.utils import atomic_write

Commas = BeforeValidator(lambda values: [part for value in values for part in value.split(",")])


class Options(BaseModel):
    """Arguments that training does not have, and `batch_size`: a single image can be evaluated, but not trained on."""

    mode: Annotated[list[Literal["eval", "train"]], Commas] = ["eval"]
    engine: Annotated[list[Literal["torch", "onnxruntime"]], Commas] = ["torch"]
    batch_size: Annotated[list[Annotated[int, Field(ge=1)]], Commas] = [32]
    rounds: int = Field(15, ge=6)
    threads: int | None = Field(None, ge=1)
    classes: int = Field(200, ge=1)
    out: Path | None = None


def main(arguments: Sequence[str]) -> int:
    """Measure every model and print the table. What failed is reported, and the others go on."""
    options, overrides = split_arguments(Options, arguments)
    if "onnxruntime" in options.engine:
        if "train" in options.mode:
            raise UserError("engine=onnxruntime: it does not train. Use mode=eval, or engine=torch.")
        if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if not find_spec(name)]:
            raise UserError(f"engine=onnxruntime needs {', '.join(missing)}. Run: pip install {' '.join(missing)}")
    cases = list(expand_cases(options, overrides))

    import pandas as pd
    import torch
    from rich.console import Console
    from rich.progress import track

    from ufgir.timing import measure_model
    from ufgir.training.run import quiet_lightning

    if options.threads:
        torch.set_num_threads(options.threads)
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load + torch.get_num_threads() > cores + 1:
        text = f"other programs use this machine (load {load:.1f}, {cores} cores): times and ratios are not reliable."
        warnings.warn(text, UfgirWarning, stacklevel=2)
    rows, failed = [], False
    for case in track(cases, "measuring", console=Console(stderr=True), transient=True):
        try:
            with quiet_lightning():
                rows.append(measure_model(*case, classes=options.classes, rounds=options.rounds))
        except (RunFailed, torch.OutOfMemoryError) as error:
            (job, config, mode, engine), failed = case, True
            named = {**job, "batch_size": config.batch_size, "mode": mode, "engine": engine}
            print("failed:", *(f"{key}={value}" for key, value in named.items()), f"({error})", file=sys.stderr)
        if options.out and rows:
            with atomic_write(options.out.expanduser()) as stream:
                pd.DataFrame(rows).to_csv(stream, index=False)
    if rows:
        print(to_markdown(pd.DataFrame(rows)))
    return FAILED if failed else DONE


def expand_cases(options: Options, overrides: Sequence[str]) -> Iterator[tuple[dict[str, str], RunConfig, str, str]]:
    """Overrides, configuration, mode and engine of every row.

    Raises:
        UserError: an error of a configuration, or this machine does not have what it asks for.
    """
    for mode in options.mode:
        if mode == "train":  # checked with the batch size
            models = expand_configs([*overrides, f"batch_size={','.join(map(str, options.batch_size))}"])
        else:
            found, sizes = expand_configs(overrides), options.batch_size
            models = [(job, config.model_copy(update={"batch_size": size})) for job, config in found for size in sizes]
        for job, config in models:
            check_machine(config)
            for engine in options.engine:
                yield {key: value for key, value in job.items() if key != "batch_size"}, config, mode, engine


def to_markdown(frame) -> str:
    """The table to read: what differs between the rows makes columns, what all share stands above."""
    names = [*frame.columns[: frame.columns.get_loc("gmacs")], "batch_size", "mode", "engine", "precision"]
    varied = [name for name in names if frame[name].nunique(dropna=False) > 1] or ["reducer"]
    shared = " ".join(f"{name}={frame[name][0]}" for name in names if name not in varied)
    where = "{device}, {threads} threads, torch {torch}, timm {timm}; {rounds} pairs".format(**frame.iloc[0])
    heads = ["GMACs", "images/s", "ms (quartiles)", "peak GB", "× timm [95 %]", "× fewer MACs", "efficiency [95 %]"]
    table = [[*varied, *heads], [*["---"] * len(varied), *["---:"] * len(heads)]]
    for row in frame.to_dict("records"):
        intervals = [f"{row[n]:.2f} [{row[f'{n}_low']:.2f}, {row[f'{n}_high']:.2f}]" for n in ("speedup", "efficiency")]
        memory = "" if math.isnan(row["peak_memory_gb"]) else f"{row['peak_memory_gb']:.3g}"
        table.append([
            *(str(row[name]) for name in varied), f"{row['gmacs']:.2f}", f"{row['images_per_second']:.1f}",
            f"{row['ms']:.1f} ({row['ms_q1']:.1f} to {row['ms_q3']:.1f})", memory,
            intervals[0], f"{row['macs_ratio']:.2f}", intervals[1],
        ])  # fmt: skip
    return "\n".join([f"{shared}; {where}", "", *("| " + " | ".join(cells) + " |" for cells in table)])


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
