"""Draw what a trained model does with the patches of images: which are kept, fused, merged or dropped, block by block.

    python -m ufgir.visualize run=DIR images=FILE_OR_FOLDER_OR_GLOB [images=...] [out=FOLDER] [limit=N] [rollout=true]
    python -m ufgir.visualize checkpoint=FILE ...

run         the folder of a finished run
checkpoint  a model.pt, the output of python -m ufgir.authors, or hf-hub:USER/NAME
images      an image, a folder (with all below it) or a pattern such as 'leaves/*.jpg'; may be given several times
out         the folder for the pictures, one PNG for each image (default: tokens/ beside the weights)
limit       at most so many images, spread evenly over those found (default: 16)
rollout     true: also the attention of the class token through all blocks (attention rollout)

Each picture has the input, the patches after each block with a reducer, and the attention of the class token in the
last block. Kept patches are clear and outlined, dropped ones dark; merged and mixed ones have their token's colours.
"""

import sys
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ufgir.cli import DONE, SKIPPED, TrainedOptions, parse_options, print_skipped, run_command
from ufgir.errors import UserError
from ufgir.utils import expand_path


class Options(TrainedOptions):
    images: Annotated[list[str], Field(min_length=1)]
    out: str | None = None
    limit: Annotated[int, Field(ge=1)] = 16
    rollout: bool = False


def main(arguments: list[str]) -> int:
    """Find the model and the images, and draw a picture for each."""
    options = parse_options(Options, arguments)
    out = None if options.out is None else expand_path("out", options.out)
    if out is not None and (not out.parent.is_dir() or (out.exists() and not out.is_dir())):
        raise UserError(f"out={options.out}: expected a folder, existing or new, in a folder that exists.")

    from ufgir.data.images import find_images, track
    from ufgir.data.transforms import decode_for_test
    from ufgir.inference.token_maps import draw_images, evenly_spaced

    found, unreadable = find_images(options.images)
    trained = options.load()
    chosen, config = evenly_spaced(found, options.limit), trained.config
    out = out or trained.place / "tokens"
    images = decode_for_test(chosen, config.resize, config.image_size, ahead=2)
    drawn, broken = draw_images(
        trained.build().float(), track(images, len(chosen), "drawing"), out,
        arguments=config.model_arguments(len(trained.class_names)), class_names=trained.class_names,
        true_classes=true_classes(trained), rollout=options.rollout,
    )  # fmt: skip
    unreadable += broken
    print_skipped(unreadable)
    if not drawn:
        raise UserError(f"images={options.images[0]}: none of the images can be read; nothing was drawn.")
    if len(chosen) < len(found):
        print(f"drew {len(drawn)} of the {len(found)} images; limit={len(found)} draws all of them")
    print(f"pictures: {out}", flush=True)
    return SKIPPED if unreadable else DONE


def true_classes(trained) -> dict[Path, int]:
    """Class id by absolute path of the images that a run was evaluated on; empty if its data cannot be found."""
    from ufgir.inference.evaluate import INFERENCE_ONLY
    from ufgir.training.build import build_data

    try:
        splits = build_data(trained.config.updated(INFERENCE_ONLY, check=False)).splits
    except (UserError, AttributeError):
        return {}
    tables = [table for role, table in splits.roles.items() if role != "train"]
    pairs = [pair for table in tables for pair in zip(splits.paths(table), table["class_id"], strict=True)]
    return {path.absolute(): class_id for path, class_id in pairs}


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
