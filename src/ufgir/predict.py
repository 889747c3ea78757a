"""Classify photographs with a trained model.

    python -m ufgir.predict run=DIR images=FILE_OR_FOLDER_OR_GLOB [images=...] [out=FILE.csv] [show=true]
        [batch_size=NUMBER]
    python -m ufgir.predict checkpoint=FILE ...

run         the folder of a finished run
checkpoint  a model.pt, or hf-hub:USER/NAME
images      an image, a folder (all images below it, nothing hidden) or a pattern such as 'leaves/*.jpg'; may be given
            several times
out         the CSV file to write (default: predictions.csv), a row for each image: path, then the five most probable
            classes with their probabilities
show        true: also draw the first images with their classes, as a PNG beside the CSV file
batch_size  images in one pass (default: as in training); less needs less memory

Images are prepared as in the test of the run. Those that cannot be read are listed and left out; then the command ends
with exit code 3.
"""

import csv
import sys
from typing import Annotated

from pydantic import Field

from ufgir.cli import DONE, SKIPPED, TrainedOptions, parse_options, print_skipped, run_command
from ufgir.errors import UserError
from ufgir.utils import atomic_write, expand_path


class Options(TrainedOptions):
    images: Annotated[list[str], Field(min_length=1)]
    out: str = "predictions.csv"
    show: bool = False
    batch_size: Annotated[int, Field(ge=1)] | None = None


def main(arguments: list[str]) -> int:
    """Find the images, classify them and write a row for each as soon as it is known."""
    options = parse_options(Options, arguments)
    out = expand_path("out", options.out)
    files = [out, out.with_suffix(".png")] if options.show else [out]
    if out.suffix != ".csv":
        raise UserError(f"out={options.out}: expected a file that ends in .csv.")
    if not out.parent.is_dir() or any(file.is_dir() for file in files):
        raise UserError(f"out={options.out}: expected a file, existing or new, in a folder that exists.")

    from ufgir.data.images import find_images, track
    from ufgir.inference.contact_sheet import MAX_IMAGES, prediction_sheet
    from ufgir.inference.evaluate import classify
    from ufgir.training.predictions import columns, fields, printable
    from ufgir.training.trained import for_this_machine

    found, unreadable = find_images(options.images)
    trained = options.load()
    config, model, names = for_this_machine(trained.config), trained.model, trained.class_names
    first, done = [], 0
    with atomic_write(out) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", *columns(len(names))])
        predictions = classify(model, config, found, options.batch_size or config.batch_size)
        for path, prediction in track(predictions, len(found), "classifying"):
            if isinstance(prediction, str):
                unreadable.append((path, prediction))
                continue
            done += 1
            first += [(path, prediction)] if len(first) < MAX_IMAGES else []
            writer.writerow([printable(path), *fields(prediction, names)])
        if not done:
            listed = ", ".join(f"{printable(path)} ({reason})" for path, reason in unreadable[:10])
            raise UserError(f"images={options.images[0]}: none of {len(found)} images can be read: {listed}.")
    print_skipped(unreadable)
    if options.show:
        name = trained.folder.path.resolve().name if trained.folder else trained.weights.name
        with atomic_write(files[1], "wb") as stream:
            prediction_sheet(first, done, names, name).save(stream, format="png", optimize=True)
        print(f"sheet: {files[1]}")
    print(f"{done:,} of {len(found):,} images classified")
    print(f"predictions: {out}", flush=True)
    return SKIPPED if unreadable else DONE


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
