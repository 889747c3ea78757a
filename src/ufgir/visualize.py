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

from ufgir.cli import DONE, SKIPPED, count_faults, parse_words, run_command
from ufgir.cost import count_macs
from ufgir.data.progress import tracked
from ufgir.errors import UserError
from ufgir.files import folder_faults, saving, typed_path
from ufgir.photos import find_images, named_images, spread, tell_skipped
from ufgir.pictures import Drawer, Labels, draw_files, figure_names
from ufgir.runs.tested import tested_images
from ufgir.runs.trained import TRAINED_WORDS, choice_faults, find_trained

WORDS = (*TRAINED_WORDS, "images", "out", "limit")
LIMIT = 16


def visualize(arguments: Sequence[str]) -> int:
    """Find the model and the images, and draw a figure for each."""
    words, faults = parse_words(arguments, WORDS)
    found, unfound = find_images(named_images(arguments))
    faults += choice_faults(words) + unfound + count_faults(words, "limit")
    out, misread = typed_path("out", words.get("out", ""))
    if "out" in words:
        faults += misread or folder_faults("out", out)
    if faults:
        raise UserError(*faults)
    trained = find_trained(words)
    model = trained.build().float()
    gmacs = count_macs(model, trained.config["image_size"]) / 1e9
    drawer = Drawer(model, trained.config, gmacs, Labels(trained.class_names, tested_images(trained)))
    chosen = spread(found.images, int(words.get("limit", LIMIT)))
    out = out if "out" in words else trained.results_folder / "tokens"
    with saving("out", out):
        unreadable = draw_files(drawer, tracked(chosen, len(chosen), "drawing"), figure_names(chosen), out)
    tell_skipped(found.closed + unreadable)
    if len(chosen) < (there := len(found.images)):
        print(f"{len(chosen)} of the {there} images were taken; limit={there} takes all of them")
    if len(unreadable) == len(chosen):
        raise UserError("none of the images can be read; nothing was drawn.")
    print(f"figures: {out}", flush=True)
    return SKIPPED if found.closed or unreadable else DONE


if __name__ == "__main__":
    sys.exit(run_command(visualize, usage=__doc__, after_ctrl_c="the figures drawn until then stay, whole"))
