"""Turn a trained model into a file for other programs, checked against the model before it is kept.

    python -m ufgir.export run=DIR format=onnx|torchexport|timm [out=FOLDER_OR_FILE]
    python -m ufgir.export checkpoint=FILE ...

run           the folder of a finished run
checkpoint    a model.pt of one, or hf-hub:USER/NAME
format        onnx: for onnxruntime, with preprocessing.json, and classify.py, which classifies with onnxruntime,
              numpy and pillow alone
              torchexport: for torch.export.load, with preprocessing.json
              timm: weights that timm's own model loads, with config.json; what timm's model lacks is said
out           the folder to write to, or the file, then named *.onnx, *.pt2 or *.safetensors; nothing in it is
              overwritten (default: export/FORMAT beside the weights, where an earlier export is)
tolerance     largest difference of a logit to PyTorch's that is accepted (default: 0.001; with format=timm 0, and only
              where nothing is left out)
dataset       data set with images to check on (default: the run's own); noise is used where none are found
dataset.root  where the data set lies now, if it has moved; dataset.images likewise

The batch of onnx and torchexport may be of any size; checked are 1, 3, 5 and 16 images at a time.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ufgir.cli import DONE, parse_words, run_command
from ufgir.config.messages import did_you_mean, listed, nearest
from ufgir.config.redirect import with_other_data
from ufgir.errors import UserError
from ufgir.exports.about import PREPROCESSING
from ufgir.exports.examples import find_examples
from ufgir.exports.job import Job
from ufgir.exports.place import Place
from ufgir.exports.to_onnx import SCRIPT, write_onnx
from ufgir.exports.to_timm import CONFIG, write_timm
from ufgir.exports.to_torch import write_torchexport
from ufgir.files import typed_path
from ufgir.runs.trained import TRAINED_WORDS, choice_faults, find_trained

DATA = ("dataset", "dataset.root", "dataset.images")
WORDS = (*TRAINED_WORDS, "format", "out", "tolerance", *DATA)


@dataclass(frozen=True)
class Format:
    """A kind of file that a model is written as.

    Attributes:
        name: of the model's file where the user gives none.
        beside: names of the other files.
        write: writes the model's file and the others, checks it, and returns what there is to say about it.
        tolerance: largest difference of a logit that is accepted where the user gives none.
    """

    name: str
    beside: tuple[str, ...]
    write: Callable[[Job, Path], list[str]]
    tolerance: float = 1e-3


FORMATS = {
    "onnx": Format("model.onnx", (PREPROCESSING, SCRIPT.name), write_onnx),
    "torchexport": Format("model.pt2", (PREPROCESSING,), write_torchexport),
    "timm": Format("model.safetensors", (CONFIG,), write_timm, tolerance=0.0),  # which runs the same operations
}
NEEDED = {"onnx": ("onnx", "onnxruntime", "onnxscript")}  # packages of the extra `export`


def export(arguments: Sequence[str]) -> int:
    """Find the model, write it in the format that the words name, check it and say what came of it."""
    words, faults = parse_words(arguments, WORDS)
    place, misplaced = _typed_place(words)
    faults += choice_faults(words) + _format_faults(words) + misplaced + _number_faults(words)
    if faults:
        raise UserError(*faults)
    trained = find_trained(words)
    form = FORMATS[words["format"]]
    if place is None:
        folder = trained.results_folder / "export" / words["format"]
        place = Place(folder, (form.name, *form.beside), replaces=True)
    config, faults = with_other_data(trained.config, words)
    if faults := faults + place.faults():
        raise UserError(*faults)
    examples = find_examples(config, None if "dataset" in words else trained.folder)
    job = Job(trained, trained.build().eval().float(), examples, float(words.get("tolerance", form.tolerance)))
    print(f"writing {words['format']} and checking it: seconds to minutes", file=sys.stderr, flush=True)
    with place.filled() as folder:
        said = form.write(job, folder / place.names[0])
    print(*said, sep="\n")
    print(f"export: {place.folder / place.names[0]}", flush=True)
    return DONE


def _format_faults(words: Mapping[str, str]) -> list[str]:
    given = words.get("format", "")
    if given not in FORMATS:
        return [f"format={given}: expected {listed(list(FORMATS))}.{did_you_mean(nearest(given, FORMATS))}"]
    if missing := [package for package in NEEDED.get(given, ()) if not find_spec(package)]:
        return [f"format={given} needs {listed(missing, 'and')}: pip install {' '.join(missing)}"]
    return []


def _typed_place(words: Mapping[str, str]) -> tuple[Place | None, list[str]]:
    """The folder, or file in it, that `out` names, and why it cannot be; None without the word, or without a format."""
    form = FORMATS.get(words.get("format", ""))
    if form is None or "out" not in words:
        return None, []
    out, faults = typed_path("out", words["out"])
    if faults:
        return None, faults
    own, suffixes = Path(form.name).suffix, [Path(other.name).suffix for other in FORMATS.values()]
    if out.suffix in suffixes and out.suffix != own or out.is_file():
        return None, [f"out={out}: for format={words['format']} give a folder, or a new file named *{own}."]
    folder, name = (out.parent, out.name) if out.suffix == own else (out, form.name)
    place = Place(folder, (name, *form.beside), replaces=False)
    return place, place.faults()


def _number_faults(words: Mapping[str, str]) -> list[str]:
    text = words.get("tolerance", "0")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    return [] if number >= 0 else [f"tolerance={text}: expected a number of at least 0, such as 0.001."]


if __name__ == "__main__":
    sys.exit(run_command(export, usage=__doc__, after_ctrl_c="nothing was written; the same command starts again"))
