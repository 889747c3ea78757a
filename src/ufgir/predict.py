"""Classify photographs with a trained model.

    python -m ufgir.predict run=DIR images=FILE_OR_FOLDER_OR_GLOB [images=...] [out=FILE.csv] [show=true]
        [batch_size=NUMBER]
    python -m ufgir.predict checkpoint=FILE ...

run         the folder of a finished run
checkpoint  a model.pt of one, wherever it lies now, or hf-hub:USER/NAME
images      an image, a folder (all images below it, nothing hidden) or a pattern such as 'leaves/*.jpg'; may be given
            several times
out         the CSV file to write (default: predictions.csv), a row for each image: path, then the five likeliest
            classes with their probabilities
show        true: also draw the first images with their classes, as a PNG beside the CSV file
batch_size  images at a time (default: as in training); less needs less memory

Images are prepared as in the test of the run. Those that cannot be read are listed and left out; then the command ends
with exit code 3.
"""

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ufgir.cli import DONE, SKIPPED, count_faults, parse_words, run_command
from ufgir.data.progress import tracked
from ufgir.errors import UserError
from ufgir.files import place_faults, saving, typed_path, written_whole
from ufgir.photos import Skipped, find_images, named_images, tell_skipped, written
from ufgir.prediction.answers import Answer, classify
from ufgir.prediction.rows import answer_columns, answer_fields
from ufgir.prediction.sheet import MOST, prediction_sheet
from ufgir.runs.trained import TRAINED_WORDS, Trained, choice_faults, find_trained, on_this_machine

WORDS = (*TRAINED_WORDS, "images", "out", "show", "batch_size")


@dataclass
class Outcome:
    """What came of the images: how many were classified, the first of them, and those that cannot be read."""

    classified: int = 0
    first: list[tuple[Path, Answer]] = field(default_factory=list)
    unreadable: list[Skipped] = field(default_factory=list)


def predict(arguments: Sequence[str]) -> int:
    """Find the images, classify them and write what came of it.

    Returns:
        0, or 3 where images were left out.
    """
    words, faults = parse_words(arguments, WORDS)
    found, unfound = find_images(named_images(arguments))
    out, misplaced = typed_table(words)
    faults += choice_faults(words) + unfound + word_faults(words) + misplaced
    if faults:
        raise UserError(*faults)
    trained = find_trained(words)
    outcome = Outcome(unreadable=found.closed)
    with saving("out", out), written_whole(out) as stream:
        write_rows(csv.writer(stream, lineterminator="\n"), trained, found.images, words, outcome)
    tell_skipped(outcome.unreadable)
    if words.get("show") == "true":
        draw_sheet(outcome, trained, out.with_suffix(".png"))
    print(f"{outcome.classified:,} of {len(found.images):,} images classified")
    print(f"predictions: {out}", flush=True)
    return SKIPPED if outcome.unreadable else DONE


def word_faults(words: Mapping[str, str]) -> list[str]:
    """What is wrong about the words that are this command's own."""
    faults = []
    if (show := words.get("show", "false")) not in ("true", "false"):
        faults.append(f"show={show}: expected true or false.")
    return faults + count_faults(words, "batch_size")


def typed_table(words: Mapping[str, str]) -> tuple[Path, list[str]]:
    """The CSV file that the words name, and why it, or the sheet beside it, cannot be written."""
    text = words.get("out", "predictions.csv")
    out, faults = typed_path("out", text)
    if not faults and out.suffix != ".csv":
        faults = [f"out={text}: expected a file that ends in .csv."]
    if faults:
        return out, faults
    files = (out, out.with_suffix(".png")) if words.get("show") == "true" else (out,)
    return out, [fault for file in files for fault in place_faults("out", file)]


def write_rows(writer, trained: Trained, images: list[Path], words: Mapping[str, str], outcome: Outcome) -> None:
    """Classify the images, and write each row as soon as it is known; nothing is kept but the outcome.

    Raises:
        UserError: no image can be read.
    """
    config = on_this_machine({**trained.config, "trainer": {**trained.config["trainer"], "accelerator": "auto"}})
    batch_size = int(words.get("batch_size", config["optim"]["batch_size"]))
    model = trained.build()
    writer.writerow(["path", *answer_columns(len(trained.class_names))])
    answered = tracked(classify(model, config, images, batch_size), len(images), "classifying")
    for path, answer in readable(answered, outcome):
        writer.writerow([written(path), *answer_fields(answer, trained.class_names)])
    if not outcome.classified:
        lines = [f"{written(path)} ({why})" for path, why in outcome.unreadable[:10]]
        raise UserError(f"none of the {len(images)} images can be read: {', '.join(lines)}.")


def readable(answered: Iterator[tuple[Path, Answer | str]], outcome: Outcome) -> Iterator[tuple[Path, Answer]]:
    """Those with an answer; the outcome is kept up to date."""
    for path, answer in answered:
        if isinstance(answer, str):
            outcome.unreadable.append((path, answer))
            continue
        outcome.classified += 1
        if len(outcome.first) < MOST:
            outcome.first.append((path, answer))
        yield path, answer


def draw_sheet(outcome: Outcome, trained: Trained, path: Path) -> None:
    """Draw the first images with their classes."""
    name = trained.folder.path.resolve().name if trained.folder else trained.weights.name
    sheet = prediction_sheet(outcome.first, outcome.classified, trained.class_names, name)
    with saving("out", path), written_whole(path, "wb") as stream:
        sheet.save(stream, format="png", optimize=True)
    print(f"sheet: {path}")


if __name__ == "__main__":
    sys.exit(run_command(predict, usage=__doc__, after_ctrl_c="nothing was written; the same command starts again"))
