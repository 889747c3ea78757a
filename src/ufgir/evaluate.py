"""Test the weights of a finished run again, or test them on other data, at another keep rate or image size.

    python -m ufgir.evaluate run=DIR [keep_rate=RATE,...] [image_size=PIXELS] [dataset=NAME] [dataset.root=DIR]
        [protocol=NAME] [batch_size=NUMBER] [out=FILE]
    python -m ufgir.evaluate checkpoint=FILE ...

run             the folder of a finished run
checkpoint      a model.pt of one, wherever it lies now, or what python -m ufgir.authors made; hf-hub:USER/NAME
                takes that of a repository of the Hugging Face Hub
keep_rate       another share of the tokens, 0.1, or one for each reduction layer, [0.7,0.5,0.3]; several separated by
                commas give the keep-rate transfer curve of the weights, as a table and a picture
image_size      side of the images, pixels; the position embeddings are resampled
dataset         another data set, with the same classes: csv, folder, leaves, cotton80, ...
dataset.root    where the data set lies now, if it has moved; dataset.images likewise
dataset.resize  side to which images are resized before the crop (default: as the weights were trained)
protocol        test on the test table (test) or on that of validation (val)
batch_size      images at a time (default: as in training); less needs less memory
out             the JSON file to write, or a folder for it (default: evaluation.json beside the weights; other data,
                another protocol, keep rate or size are in the name)

The figures go into that file; into the folder of the same name beside it go predictions.csv (each image with its five
likeliest classes), classes.csv, confusions.csv and confusions.png (the most frequent mix-ups), or, for several keep
rates, keep_rates.csv, .png and .svg.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ufgir.cli import DONE, count_faults, parse_words, run_command
from ufgir.config.redirect import BUDGET_WORDS, DATA_WORDS
from ufgir.data import Source
from ufgir.errors import UserError
from ufgir.evaluation.budgets import build_all, wanted_settings
from ufgir.evaluation.curve import curve_picture, curve_table
from ufgir.evaluation.places import Places, rate_text, typed_place, usual_place
from ufgir.evaluation.sheet import confusion_sheet
from ufgir.evaluation.source import find_source
from ufgir.evaluation.tables import by_class, mix_ups, named, write_predictions
from ufgir.evaluation.tested import Tested, tested_once
from ufgir.files import saving, written_whole
from ufgir.memory import enough_memory
from ufgir.runs.announce import show
from ufgir.runs.lighter import lighter_batch
from ufgir.runs.trained import TRAINED_WORDS, Trained, choice_faults, find_trained
from ufgir.training.checkpoint import weights_digest

WORDS = (*TRAINED_WORDS, *BUDGET_WORDS, *DATA_WORDS, "batch_size", "out")


def evaluate(arguments: Sequence[str]) -> int:
    """Rebuild the model from the weights file, test it and write what came of it."""
    words, faults = parse_words(arguments, WORDS)
    faults += choice_faults(words) + count_faults(words, "batch_size")
    places, found = typed_place(words["out"]) if "out" in words else (None, [])
    if faults + found:
        raise UserError(*faults, *found)
    trained = find_trained(words)
    settings = wanted_settings(trained, words)
    models = build_all(trained, settings)
    if places is None:
        places = usual_place(trained.results_folder, trained.config, settings, names_data="dataset" in words)
        if faults := places.faults():
            raise UserError(*faults)
    source = find_source(settings[0], trained.class_names, None if "dataset" in words else trained.folder)
    digest, tests = weights_digest(trained.state_dict), []
    for model, config in zip(models, settings, strict=True):
        with enough_memory(lighter_batch(config["optim"]["batch_size"])):
            tests.append(tested_once(model, config, source, digest))
        announce(tests[-1].figures, trained, is_one_of_many=len(models) > 1)
    with saving("out", places.json):
        if len(tests) > 1:
            save_curve(places, [tested.figures for tested in tests], trained, source)
        else:
            save_test(places, tests[0], source)
    print(f"evaluation: {places.json}", flush=True)
    return DONE


def announce(figures: Mapping[str, Any], trained: Trained, *, is_one_of_many: bool) -> None:
    """Say what came of a test before anything is written: a full disk must not cost the figures."""
    if is_one_of_many:
        rate, top1, gmacs = rate_text(figures["keep_rate"]), figures["test_top1"], figures["gmacs"]
        print(f"keep rate {rate}: top-1 {top1:.2f} %, {gmacs:.4f} GMACs", flush=True)
    else:
        show(str(trained.weights), {name: str(value) for name, value in figures.items()})


def save_test(places: Places, tested: Tested, source: Source) -> None:
    """Write the tables and the sheet of one test; the figures come last."""
    with written_whole(places.file("predictions.csv")) as stream:
        write_predictions(tested.images, source.class_names, stream)
    pairs = mix_ups(tested.images)
    tables = {"classes": by_class(tested.images, source.class_names), "confusions": named(pairs, source.class_names)}
    for name, table in tables.items():
        with written_whole(places.file(f"{name}.csv")) as stream:
            table.to_csv(stream, index=False, lineterminator="\n")
    with written_whole(places.file("confusions.png"), "wb") as stream:
        confusion_sheet(pairs, tested.images, source).save(stream, format="png", optimize=True)
    print(f"images, classes and mix-ups: {places.folder}")
    save_json(places, tested.figures)


def save_curve(places: Places, points: list[dict[str, Any]], trained: Trained, source: Source) -> None:
    """Write the figures of several keep rates as a table and a picture, then as JSON."""
    own, table = trained.config["keep_rate"], curve_table(points)
    with written_whole(places.file("keep_rates.csv")) as stream:
        table.to_csv(stream, index=False, lineterminator="\n")
    title = (
        f"{trained.config['reducer']['name']} trained at keep rate {rate_text(own)}, tested at others\n"
        f"{source.name}, {points[0]['test_images']} images, {points[0]['image_size']} px"
    )
    picture = curve_picture(table, own, title, source.num_classes)
    for ending, content in (("svg", picture.svg), ("png", picture.png)):
        with written_whole(places.file(f"keep_rates.{ending}"), "wb") as stream:
            stream.write(content)
    print(f"curve: {places.folder / 'keep_rates.png'}")
    save_json(places, {"trained_keep_rate": own, "points": points})


def save_json(places: Places, content: Mapping[str, Any]) -> None:
    """Write the JSON file."""
    with written_whole(places.json) as stream:
        stream.write(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_command(evaluate, usage=__doc__, after_ctrl_c="nothing was written; the same command starts again"))
