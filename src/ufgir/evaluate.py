"""Test the weights of a finished run again, or test them on other data.

    python -m ufgir.evaluate run=DIR [dataset=NAME] [dataset.root=DIR] [protocol=NAME] [out=FILE]
    python -m ufgir.evaluate checkpoint=FILE ...

run             the folder of a finished run
checkpoint      a model.pt of one, wherever it lies now, or what python -m ufgir.authors made
dataset         another data set, with the same classes: csv, folder, leaves, cotton80, ...
dataset.root    where the data set lies now, if it has moved; dataset.images likewise
dataset.resize  side to which images are resized before the crop (default: as the weights were trained)
protocol        test on the test table (test) or on that of validation (val)
out             the JSON file to write (default: evaluation.json beside the weights)
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ufgir.cli import DONE, parse_words, run_command
from ufgir.config import machine_faults
from ufgir.config.redirect import DATA_WORDS, with_other_data
from ufgir.data import Source, image_faults, load_source
from ufgir.data.tables import read_tables
from ufgir.errors import UserError
from ufgir.files import written_whole
from ufgir.runs.announce import show
from ufgir.runs.build import build_data, build_module
from ufgir.runs.folder import RunFolder
from ufgir.runs.testing import run_test
from ufgir.runs.trained import TRAINED_WORDS, choice_faults, find_trained
from ufgir.training.checkpoint import weights_digest

WORDS = (*TRAINED_WORDS, *DATA_WORDS, "out")


def evaluate(arguments: Sequence[str]) -> int:
    """Rebuild the model from the weights file, test it and write what came of it."""
    words, faults = parse_words(arguments, WORDS)
    faults += choice_faults(words)
    if not (parent := Path(words.get("out", "")).parent).is_dir():
        faults.append(f"out={words['out']}: there is no folder {parent}")
    if faults:
        raise UserError(*faults)
    trained = find_trained(words)
    trained.config, faults = with_other_data(trained.config, words)
    if faults:
        raise UserError(*faults)
    config = trained.config
    config["trainer"].update(devices=1, num_nodes=1, strategy="auto")  # which is how the run itself was tested
    if machine_faults(config):
        print("this machine lacks the device it was trained on: testing in full precision, last digits may differ")
        config["trainer"].update(accelerator="auto", precision="32-true")
    source = find_source(config, trained.class_names, None if "dataset" in words else trained.folder)
    model = trained.build()
    tested = run_test(build_module(config, model, for_test=True), build_data(config, source), config["trainer"])
    weights_sha256 = weights_digest(model.state_dict())
    results = {**tested, "weights_sha256": weights_sha256, "dataset": source.name, "protocol": config["protocol"]}
    out = Path(words.get("out", trained.weights.with_name("evaluation.json")))
    with written_whole(out) as stream:
        stream.write(json.dumps(results, indent=2) + "\n")
    show(str(trained.weights), {name: str(value) for name, value in results.items()})
    print(f"evaluation: {out}", flush=True)
    return DONE


def find_source(config: dict[str, Any], class_names: list[str], folder: RunFolder | None) -> Source:
    """The data set that a configuration names; with a run folder, the very tables of that run.

    Raises:
        UserError: the data cannot be had, or has other classes than the weights.
    """
    source, faults = load_source(config["dataset"], protocol=config["protocol"], seed=config["seed"]), []
    if folder is not None:
        tables, faults = read_tables(folder.splits)
        source = replace(source, tables=tables, class_names=class_names)
    if source.num_classes != len(class_names):
        faults = [f"{source.name} has {source.num_classes} classes, the weights were trained on {len(class_names)}."]
    if faults:
        raise UserError(*faults)
    tell_other_names(source, class_names)
    source.prepare(config["trainer"]["progress"])
    if faults := image_faults(source, config["trainer"]["progress"]):
        raise UserError(*faults)
    return source


def tell_other_names(source: Source, class_names: list[str]) -> None:
    """Say so where the classes of the data are not named as those of the weights; converted weights have no names."""
    pairs = zip(source.class_names, class_names, strict=True)
    for number, (here, there) in enumerate(pairs):
        if here != there != str(number):
            print(f"class {number} is named {here} in {source.name} and {there} in the weights: compared by number")
            return


if __name__ == "__main__":
    sys.exit(run_command(evaluate, usage=__doc__))
