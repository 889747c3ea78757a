"""Write a trained model as a file for other programs. It is checked against the model before it is kept.

    python -m ufgir.export run=DIR format=onnx|torchexport|timm [out=FOLDER_OR_FILE]
    python -m ufgir.export checkpoint=FILE ...

run             the folder of a finished run
checkpoint      its model.pt, or hf-hub:USER/NAME
format          onnx: for onnxruntime, with preprocessing.json and with classify.py, which classifies images and needs
                onnxruntime, numpy and pillow alone
                torchexport: for torch.export.load, with preprocessing.json
                timm: weights for timm's own model, with config.json; the parts that timm lacks are named
out             a folder, or a new file *.onnx, *.pt2 or *.safetensors; existing files are not overwritten
                (default: export/FORMAT beside the weights, where an earlier export is replaced)
tolerance       largest accepted difference of a logit (default: 0.001; for timm 0, where nothing is left out)
dataset         data set with test images to check on (default: the run's own; random noise if it is not found)
dataset.root    the folder of the data set, if it has moved; dataset.images likewise

onnx and torchexport take batches of any size; 1, 3, 5 and up to 16 images at a time are checked.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ufgir.cli import DONE, TrainedOptions, parse_options, run_command
from ufgir.errors import UserError
from ufgir.utils import expand_path, staged

FILES = {
    "onnx": ("model.onnx", "preprocessing.json", "classify.py"),
    "torchexport": ("model.pt2", "preprocessing.json"),
    "timm": ("model.safetensors", "config.json"),
}  # format -> the model's file by default, and those beside it
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")  # of the extra `export`


class Options(TrainedOptions):
    format: Literal["onnx", "torchexport", "timm"]
    out: str | None = None
    tolerance: Annotated[float, Field(ge=0)] | None = None
    dataset: str | None = None
    root: str | None = Field(None, alias="dataset.root")
    images: str | None = Field(None, alias="dataset.images")


def main(arguments: list[str]) -> int:
    """Find the model, write it, check it, and print what came of it."""
    options = parse_options(Options, arguments)
    if options.format == "onnx" and (missing := [name for name in ONNX_PACKAGES if not find_spec(name)]):
        raise UserError(f"format=onnx needs {', '.join(missing)}. Run: pip install {' '.join(missing)}")
    out = None if options.out is None else given_output(options.out, options.format)

    from ufgir.export.check import Job, example_images
    from ufgir.export.graph import write_onnx, write_torchexport
    from ufgir.export.timm import write_timm

    trained = options.load() if out is None else None
    path, names = out or (trained.place / "export" / options.format, FILES[options.format])
    given = options.model_dump(exclude_none=True, by_alias=True)
    data = {key: value for key, value in given.items() if key.startswith("dataset")}
    tolerance = options.tolerance
    if tolerance is None:
        tolerance = 0.0 if options.format == "timm" else 1e-3
    with staged(path, names, replace=out is None) as folder:
        trained = trained or options.load()
        print(f"writing {options.format} and checking it; this takes seconds to minutes", file=sys.stderr, flush=True)
        job = Job(trained, trained.model.float(), *example_images(trained, data), tolerance)
        write = {"onnx": write_onnx, "torchexport": write_torchexport, "timm": write_timm}[options.format]
        lines = write(job, folder / names[0])
    print(*lines, sep="\n")
    print(f"export: {path / names[0]}", flush=True)
    return DONE


def given_output(out: str, format: str) -> tuple[Path, tuple[str, ...]]:
    """The folder that `out` names or that its file is in, and the names of the files.

    Raises:
        UserError: the file has the ending of another format.
    """
    path, (name, *others) = expand_path("out", out), FILES[format]
    ending, endings = Path(name).suffix, [Path(names[0]).suffix for names in FILES.values()]
    if path.is_file() or (path.suffix in endings and path.suffix != ending):
        raise UserError(f"out={out}: expected a folder or a new file *{ending} for format={format}.")
    if path.suffix == ending:
        path, name = path.parent, path.name
    return path, (name, *others)


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
