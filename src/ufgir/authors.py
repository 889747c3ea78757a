"""Turn a checkpoint that the paper's authors published into a weights file of ours.

    python -m ufgir.authors checkpoint=FILE out=FILE [backbone=NAME] [reducer=NAME] [keep_rate=RATE]
        [image_size=PIXELS] [reduction_layers=[...]] [plugins=NAME] [plugins.cache.OPTION=true|false]

checkpoint        a file of the first release (model and args) or of the follow-up (model and config)
out               the weights file to write; one that is there already is never overwritten
backbone          a timm name, or one of ours, such as deit_b
reducer           none, evit, ...
keep_rate         share of the tokens kept at each reduction layer, 0.1, or one for each, [0.7,0.5,0.3]
image_size        side of the images that the model was trained with, pixels
reduction_layers  blocks counted from 0, [3,6,9]
plugins           base, cla, clc, clca or ifa
plugins.cache     gap, recover_at_last, pool_cls and pool_clr, as in plugins=clc

All words but the first two are only needed where the shapes, settings and name of the file leave something open, or
are wrong. `python -m ufgir.evaluate checkpoint=OUT dataset=NAME` tests the result.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from ufgir.cli import DONE, parse_words, run_command
from ufgir.config.rules import choices
from ufgir.errors import UserError
from ufgir.files import saving, typed_path
from ufgir.published import Conversion, convert, infer, read_published
from ufgir.published.report import report_lines
from ufgir.published.shapes import outline_of
from ufgir.published.words import FACTS, word_facts
from ufgir.training.checkpoint import load_weights, save_weights, weights_digest

WORDS = ("checkpoint", "out", *FACTS)


def authors(arguments: Sequence[str]) -> int:
    """Read, infer, convert, write, and print what was done."""
    words, faults = parse_words(arguments, WORDS)
    faults += [f"{word}=FILE is missing; {use}" for word, use in
               {"checkpoint": "it names the authors' file", "out": "it names the file to write"}.items()
               if not words.get(word)]  # fmt: skip
    said, misread = word_facts(words)
    (checkpoint, unfound), (out, misplaced) = (typed_path(word, words.get(word, "")) for word in ("checkpoint", "out"))
    faults += misread + unfound + misplaced
    if words.get("out") and not unfound + misplaced:
        faults += _place_faults(checkpoint, out)
    if faults:
        raise UserError(*faults)
    published = read_published(checkpoint)
    outline = outline_of({name: tuple(value.shape) for name, value in published.state_dict.items()})
    facts, remarks = infer(published, outline, said)
    conversion = convert(published.state_dict, facts)
    there = out.exists()
    if there:
        _require_equal(out, conversion)
    else:
        _write(out, conversion)
    print(*report_lines(published, facts, remarks, conversion), sep="\n")
    data = conversion.config["dataset"]["name"]
    data = data if data in choices("dataset") else "csv"
    print(f"\nNext: python -m ufgir.evaluate checkpoint={out} dataset={data} dataset.root=DIR")
    print(f"weights: {out}{' (there already, with the same content)' if there else ''}", flush=True)
    return DONE


def _place_faults(checkpoint: Path, out: Path) -> list[str]:
    if out.is_dir():
        return [f"out={out} is a folder; give the file to write, such as out={out / 'model.pt'}"]
    if out.exists() and checkpoint.exists() and out.samefile(checkpoint):
        return [f"out={out} is the checkpoint itself; give another file"]
    return []


def _require_equal(out: Path, conversion: Conversion) -> None:
    """See that an earlier result says the same, so that the command may be given twice.

    Raises:
        UserError: the file holds something else.
    """
    try:
        there = load_weights(out)
        same = (there["config"], there["class_names"]) == (conversion.config, conversion.class_names)
        same = same and weights_digest(there["state_dict"]) == weights_digest(conversion.model.state_dict())
    except UserError:
        same = False
    if not same:
        raise UserError(f"out={out} exists and holds something else; remove it or give another out=")


def _write(out: Path, conversion: Conversion) -> None:
    with saving("out", out):
        out.parent.mkdir(parents=True, exist_ok=True)
        save_weights(out, conversion.model, conversion.config, conversion.class_names)


if __name__ == "__main__":
    sys.exit(run_command(authors, usage=__doc__))
