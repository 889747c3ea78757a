"""Test the weights of a finished run again, or test them on other data, at another keep rate or image size.

    python -m ufgir.evaluate run=DIR [keep_rate=RATE,...] [image_size=PIXELS] [dataset=NAME] [dataset.root=DIR]
        [protocol=test|val] [recalibrate=true] [batch_size=NUMBER] [out=FILE]
    python -m ufgir.evaluate checkpoint=FILE ...

run             the folder of a finished run
checkpoint      a model.pt, the output of python -m ufgir.authors, or hf-hub:USER/NAME,
                a repository of the Hugging Face Hub
keep_rate       another share of the tokens, 0.1, or one for each reduction layer, [0.7,0.5,0.3]; several separated by
                commas give the keep-rate transfer curve of the weights, as a table and a picture
image_size      side of the images, pixels; the position embeddings are resampled
dataset         another data set with the same classes: csv, folder, leaves, cotton80, ...
dataset.root    the folder of the data set, if it has moved; dataset.images likewise
dataset.resize  side to which images are resized before the crop (default: as the weights were trained)
protocol        the test table (test) or that of validation (val; its numbers are named val_*)
recalibrate     true: test each keep rate a second time, with the BatchNorm statistics of the cla head computed again on
                the training images at this keep rate
batch_size      images in one pass (default: as in training); less needs less memory
out             the JSON file to write, or a folder for it (default: evaluation.json beside the weights; other data,
                another protocol, keep rate or size are in the name)

The numbers go into that file: top-1, top-5, macro F1 and expected calibration error (15 bins) in percent, loss, cost
and speed. The folder of the same name beside it gets predictions.csv (each image with its five most probable classes),
classes.csv, confusions.csv, confusions.png (the most frequent ones) and confusion_matrix.png or, for several keep
rates, keep_rates.csv, .png and .svg.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field

from ufgir.cli import DONE, TrainedOptions, parse_options, run_command
from ufgir.errors import UserError
from ufgir.utils import atomic_write, expand_path


def _split_rates(texts: list[str]) -> list[float | list[float]]:
    """`0.1,[0.7,0.5,0.3]` as a list of rates."""
    try:
        rates = [rate for text in texts for rate in yaml.safe_load(f"[{text}]")]
        return [[float(one) for one in rate] if isinstance(rate, list) else float(rate) for rate in rates]
    except (yaml.YAMLError, TypeError, ValueError):
        raise ValueError(f"expected numbers, such as 0.1,0.5 or 0.1,[0.7,0.5,0.3], not {','.join(texts)}") from None


class Options(TrainedOptions):
    keep_rate: Annotated[list[Any] | None, BeforeValidator(_split_rates)] = None
    image_size: Annotated[int, Field(ge=1)] | None = None
    dataset: str | None = None
    root: str | None = Field(None, alias="dataset.root")
    images: str | None = Field(None, alias="dataset.images")
    resize: int | None = Field(None, alias="dataset.resize")
    protocol: Literal["test", "val"] | None = None
    recalibrate: bool = False
    batch_size: Annotated[int, Field(ge=1)] | None = None
    out: str | None = None


def main(arguments: list[str]) -> int:
    """Rebuild the model from the weights file, test it and write what came of it."""
    options = parse_options(Options, arguments)
    file = None if options.out is None else given_file(options.out)

    from ufgir.config.schema import rate_text
    from ufgir.inference import evaluate
    from ufgir.training.checkpoint import weights_digest
    from ufgir.training.facts import print_table

    trained = options.load()
    given = options.model_dump(exclude_none=True, by_alias=True)
    changes = {key: value for key, value in given.items() if key == "protocol" or key.startswith("dataset.")}
    configs = evaluate.configs_of(
        trained, keep_rates=options.keep_rate, image_size=options.image_size, dataset=options.dataset, changes=changes,
        batch_size=options.batch_size,
    )  # fmt: skip
    models = [trained.build(config) for config in configs]  # they share the memory of their weights
    if options.recalibrate and not evaluate.batch_norms(models[0]):
        raise UserError("recalibrate=true: these weights have no BatchNorm layers; only the cla head has them.")
    file = file or default_file(trained.place, options)
    data = evaluate.test_data(trained, configs[0], own=options.dataset is None)
    digest = weights_digest(trained.state_dict)
    is_curve, points = len(configs) > 1 or options.recalibrate, []
    for model, config in zip(models, configs, strict=True):
        for recalibrated in (False, True) if options.recalibrate else (False,):
            if recalibrated:
                evaluate.recalibrate(model, config, data.splits.paths(data.splits.train))
            numbers, images = evaluate.test_once(model, config, data)
            kind = {"recalibrated": recalibrated} if options.recalibrate else {}
            points.append(point := {**numbers, **kind, "weights_sha256": digest})
            if is_curve:
                top1 = point.get("test_top1", point.get("val_top1"))
                rate = rate_text(config.keep_rate) + ", recalibrated" * recalibrated
                print(f"keep rate {rate}: top-1 {top1:.2f} %, {point['gmacs']:.4f} GMACs", flush=True)
    folder = file.with_suffix("")
    if is_curve:
        evaluate.write_curve(points, trained, data.num_classes, folder)
        content = {"trained_keep_rate": trained.config.keep_rate, "points": points}
        print(f"curve: {folder / 'keep_rates.png'}")
    else:
        print_table(str(trained.weights), {name: str(value) for name, value in points[0].items()})
        evaluate.write_test(images, data, folder)
        content = points[0]
        print(f"images, classes and confusions: {folder}")
    with atomic_write(file) as stream:  # the last of the files
        stream.write(json.dumps(content, indent=2) + "\n")
    print(f"evaluation: {file}", flush=True)
    return DONE


def given_file(out: str) -> Path:
    """The JSON file that `out` names.

    Raises:
        UserError: it cannot be written.
    """
    path = expand_path("out", out)
    if path.suffix != ".json":
        if not path.is_dir():
            raise UserError(f"out={out}: expected a file that ends in .json, or a folder that exists.")
        path /= "evaluation.json"
    if not path.parent.is_dir():
        raise UserError(f"out={out}: there is no folder {path.parent}.")
    folder = path.with_suffix("")
    if path.is_dir() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"out={out}: expected a file {path} and a folder {folder} beside it, but one is the other.")
    return path


def default_file(folder: Path, options: Options) -> Path:
    """`evaluation.json` in a folder, or a name with the options that make it another test than that of the run."""
    from ufgir.config.schema import rate_text

    parts, rates = ["evaluation"], options.keep_rate
    if options.dataset:
        parts.append(Path(options.root).absolute().name if options.root else options.dataset)
    if options.protocol:
        parts.append(options.protocol)
    if rates:
        parts.append("keep_rates" if len(rates) > 1 else f"keep_rate_{rate_text(rates[0], '_')}")
    if options.image_size:
        parts.append(f"image_size_{options.image_size}")
    if options.recalibrate:
        parts.append("recalibrated")
    return given_file(str(folder / f"{'-'.join(parts)}.json"))


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
