"""Measure time, memory and cost of models, against timm's own and against explicit attention.

    python -m ufgir.benchmark reducer=evit,tome keep_rate=0.1 image_size=224,448 optim.batch_size=4

The words are those of training, and several values, separated by commas, make several models. Besides:

mode       eval,train (default: both): a forward pass, or forward, backward and optimiser
rounds     measurements of each model, in turns with what it is compared with (15)
processes  repeat all in so many processes, one after the other, and show the best of each row (1)
threads    of the processor (default: torch's)
classes    of the classifier (200)
out        folder for benchmark.csv, benchmark.json and the figures (benchmark)
compare    a benchmark.csv of earlier; tells what got slower
loader     true: the loader, too, with each cache, on the data set that the words name
targets    cpu or cuda: the measurements behind this project's own bounds, and whether each is met; without mode,
           loader and compare
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from ufgir.benchmarks import results
from ufgir.benchmarks.contenders import MODES
from ufgir.benchmarks.loading import loaders_of, sources_of
from ufgir.benchmarks.measure import measure
from ufgir.benchmarks.processes import best_of
from ufgir.benchmarks.scaling import figures
from ufgir.benchmarks.targets import TARGETS, is_measurable, measure_targets, target_table
from ufgir.cli import DONE, count_faults, run_command
from ufgir.config import jobs_of, machine_faults, sound_jobs
from ufgir.config.messages import listed
from ufgir.errors import UserError
from ufgir.files import folder_faults, typed_path

OWN_WORDS = {
    "mode": ",".join(MODES), "rounds": "15", "processes": "1", "threads": "", "classes": "200", "out": "benchmark",
    "compare": "", "loader": "false", "targets": "",
}  # fmt: skip
NUMBERS = ("rounds", "processes", "threads", "classes")
NOT_WITH_TARGETS = ("mode", "loader", "compare")  # each target has a mode of its own, and a bound to be compared with


def benchmark(arguments: Sequence[str]) -> int:
    """Check the words, measure, write and print."""
    own, words = own_words(arguments)
    if own["targets"]:
        return bounds(own, words)
    earlier = results.read(Path(own["compare"])) if own["compare"] else None
    jobs = models(words, own["mode"].split(","))
    if faults := list(dict.fromkeys(fault for _, config in jobs for fault in machine_faults(config))):
        raise UserError(*faults)
    sources = sources_of(jobs) if own["loader"] == "true" else []
    if own["threads"]:
        torch.set_num_threads(int(own["threads"]))
    if int(own["processes"]) > 1:
        passed_on = [f"{name}={own[name]}" for name in ("mode", "rounds", "threads", "classes") if own[name]]
        rows = best_of(int(own["processes"]), [*words, *passed_on])
    else:
        rows = measured(jobs, own)
    folder = Path(own["out"])
    results.write(folder, rows, [])  # before the loaders, of which one may fail
    for drawn in figures(rows):
        drawn.write(folder)
    print(results.table(rows).markdown(), flush=True)
    if loaders := loaders_of(sources, rows):
        results.write(folder, rows, loaders)
        print(results.loader_table(loaders).markdown())
    if earlier is not None:
        print(*results.changes(rows, earlier), sep="\n")
    print(f"benchmark: {folder / 'benchmark.csv'}", flush=True)
    return DONE


def own_words(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The words of this command with their values, and those of training.

    Raises:
        UserError: a value out of its range.
    """
    given = dict(word.split("=", 1) for word in arguments if word.partition("=")[0] in OWN_WORDS and "=" in word)
    own = {**OWN_WORDS, **given}
    faults = [fault for name in NUMBERS for fault in count_faults(given, name)]
    if unknown := [mode for mode in own["mode"].split(",") if mode not in MODES]:
        faults.append(f"mode={own['mode']}: {listed(unknown, 'and')} is not among {listed(MODES, 'and')}.")
    if own["loader"] not in ("true", "false"):
        faults.append(f"loader={own['loader']}: expected true or false.")
    if own["targets"] and own["targets"] not in TARGETS:
        faults.append(f"targets={own['targets']}: expected {listed(list(TARGETS), 'or')}.")
    if own["targets"]:
        faults += [
            f"{name}={given[name]} has no effect with targets={own['targets']}; leave one of the two out."
            for name in NOT_WITH_TARGETS
            if name in given
        ]
    (out, misplaced), (compare, misread) = (typed_path(name, own[name]) for name in ("out", "compare"))
    faults += misread + (misplaced or folder_faults("out", out, deep=True))
    if faults:
        raise UserError(*faults)
    own |= {"out": str(out), "compare": str(compare) if own["compare"] else ""}
    return own, [word for word in arguments if word.partition("=")[0] not in given]


def models(words: Sequence[str], modes: Sequence[str]) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """The words and the configuration of each model.

    A batch of one image cannot train the BatchNorm of CLA, but it can be evaluated: without training it is allowed.
    """
    batches = [word for word in words if word.partition("=")[0] == "optim.batch_size"]
    sizes = "".join(batches[-1:]).removeprefix("optim.batch_size=").split(",")  # of a word given twice the last counts
    if "train" in modes or not all(size.isdigit() and int(size) > 0 for size in sizes):
        return list(sound_jobs(words))
    return [
        ({**job, "optim.batch_size": size}, {**config, "optim": {**config["optim"], "batch_size": int(size)}})
        for job, config in sound_jobs([word for word in words if word not in batches])
        for size in sizes
    ]


def measured(jobs: Sequence[tuple[dict[str, str], dict[str, Any]]], own: dict[str, str]) -> list[dict[str, Any]]:
    """Rows of the models, measured in this process."""
    cases = [(job, config, mode) for job, config in jobs for mode in own["mode"].split(",")]
    bar = track(cases, "measuring", console=Console(stderr=True), transient=True)
    rounds, classes = int(own["rounds"]), int(own["classes"])
    return [measure(job, config, mode, classes=classes, rounds=rounds) for job, config, mode in bar]


def bounds(own: dict[str, str], words: Sequence[str]) -> int:
    """Measure what the targets ask for and print which are met. `words` change all of the measurements.

    Where nothing can be measured nothing is written, so that figures of a machine that could stay as they are.
    """
    name, folder = own["targets"], Path(own["out"])
    if faults := target_faults(name, words):
        raise UserError(*faults)
    passed_on = [f"{word}={own[word]}" for word in ("rounds", "threads", "classes") if own[word]]
    found = measure_targets(name, [*words, *passed_on], int(own["processes"]))
    told = target_table(name, found)
    if found:
        results.write(folder, list({id(row): row for row in found.values()}.values()), [])
        told.write(folder)
    print(told.markdown())
    return DONE


def target_faults(name: str, words: Sequence[str]) -> list[str]:
    """What keeps a word of training from changing every measurement of the targets, which are of one model each."""
    several = [word for word in words if len(list(jobs_of([word]))) > 1]
    faults = [f"{word}: each target is measured on one model. Give one value." for word in several]
    for chosen, mode in {(target.words, target.mode): None for target in TARGETS[name]}:
        try:
            jobs = models([*chosen, *words], [mode])
        except UserError as error:
            faults += error.faults
        else:
            if is_measurable(name):
                faults += [fault for _, config in jobs for fault in machine_faults(config)]
    return list(dict.fromkeys(faults))


if __name__ == "__main__":
    sys.exit(run_command(benchmark, usage=__doc__))
