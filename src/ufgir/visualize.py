"""Draw what a trained model does with the patches of images: which are kept, fused, merged or dropped, block by block.

    python -m ufgir.visualize run=DIR images=FILE_OR_FOLDER_OR_GLOB [images=...] [out=FOLDER] [limit=N]
    python -m ufgir.visualize checkpoint=FILE ...

run         the folder of a finished run
checkpoint  a model.pt of one, wherever it lies now, what python -m ufgir.authors made, or hf-hub:USER/NAME
images      an image, a folder (with all below it) or a pattern such as 'leaves/*.jpg'; may be given several times
out         the folder for the figures, one PNG for each image (default: tokens/ beside the weights)
limit       at most so many images, spread evenly over those found (default: 16)

Each figure has the input, the patches after each block with a reducer, and the attention of the class token in the last
block. Kept patches are clear, dropped ones dark; merged ones are outlined, and shades show shares in fused tokens.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from ufgir.cli import DONE, SKIPPED, parse_words, run_command
from ufgir.cost import count_macs
from ufgir.data.progress import tracked
from ufgir.data.wording import reason
from ufgir.errors import UserError
from ufgir.pictures import Drawer, Labels, draw_files, figure_names, find_images, spread
from ufgir.runs.tested import tested_images
from ufgir.runs.trained import TRAINED_WORDS, choice_faults, find_trained

WORDS = (*TRAINED_WORDS, "images", "out", "limit")
LIMIT = 16


def visualize(arguments: Sequence[str]) -> int:
    """Find the model and the images, and draw a figure for each."""
    words, faults = parse_words(arguments, WORDS)
    faults += choice_faults(words)
    paths, found = find_images([word.partition("=")[2] for word in arguments if word.startswith("images=")])
    faults += found + limit_faults(words) + out_faults(words)
    if faults:
        raise UserError(*faults)
    trained = find_trained(words)
    model = trained.build().float()
    gmacs = count_macs(model, trained.config["image_size"]) / 1e9
    drawer = Drawer(model, trained.config, gmacs, Labels(trained.class_names, tested_images(trained)))
    chosen = spread(paths, int(words.get("limit", LIMIT)))
    out = Path(words.get("out", trained.results_folder / "tokens"))
    try:
        unreadable = draw_files(drawer, tracked(chosen, len(chosen), "drawing"), figure_names(chosen), out)
    except OSError as error:
        raise UserError(f"out={out} cannot be written to: {reason(error)}. Give another folder.") from error
    for path, why in unreadable.items():
        print(f"skipped: {path}: {why}", file=sys.stderr)
    if len(chosen) < len(paths):
        print(f"{len(chosen)} of the {len(paths)} images were taken; limit={len(paths)} takes all of them")
    if len(unreadable) == len(chosen):
        raise UserError("none of the images can be read; nothing was drawn.")
    print(f"figures: {out}", flush=True)
    return SKIPPED if unreadable else DONE


def limit_faults(words: dict[str, str]) -> list[str]:
    """What is wrong with `limit`."""
    limit = words.get("limit", "1")
    return [] if limit.isdecimal() and int(limit) else [f"limit={limit}: expected a number of images, at least 1."]


def out_faults(words: dict[str, str]) -> list[str]:
    """What is wrong with `out`."""
    out = Path(words.get("out", "."))
    if out.exists() and not out.is_dir():
        return [f"out={out} is a file; give a folder for the figures."]
    return [] if out.parent.is_dir() else [f"out={out}: there is no folder {out.parent}."]


if __name__ == "__main__":
    sys.exit(run_command(visualize, usage=__doc__))
