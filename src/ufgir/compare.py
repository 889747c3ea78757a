"""Tokens, parameters and GMACs of models, before anything is trained.

    python -m ufgir.compare backbone=deit_s,vit_b reducer=evit,tome keep_rate=0.1,0.5 image_size=224,448

Arguments are those of training, `--config-dir DIR` among them. Values separated by commas give several models;
sweep=NAME gives those of a grid.

classes  number of classes of the classifier (default: 200)
out      FILE.csv to write the same numbers to, one row for each model

The table is Markdown: a row for each combination, columns for backbones and image sizes. Tokens are those after each
reduction layer: class token, patches, and those the cache returned; of noise for ATS, which keeps fewer of photos.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from ufgir.cli import DONE, parse_options, run_command
from ufgir.config import RunConfig
from ufgir.config.compose import Composer
from ufgir.errors import UserError, show
from ufgir.sweep.grid import jobs_of
from ufgir.utils import atomic_write, expand_path


class Options(BaseModel):
    classes: int = Field(200, ge=1)
    out: Path | None = None


def main(arguments: Sequence[str]) -> int:
    """Count every model and print the table."""
    import pandas as pd  # here and below: not for --help, which is instant
    from rich.console import Console
    from rich.progress import track

    options, overrides = split_arguments(Options, arguments)
    models = expand_configs(overrides)
    bar = track(models, "counting", console=Console(stderr=True), transient=True)
    frame = pd.DataFrame([count(job, config, build_model(config, options.classes)) for job, config in bar])
    if options.out:
        with atomic_write(options.out.expanduser()) as stream:
            frame.to_csv(stream, index=False)
    print(to_markdown(frame))
    return DONE


def split_arguments(options: type[BaseModel], arguments: Sequence[str]) -> tuple[Any, list[str]]:
    """The options of a command that takes the overrides of training, too, and those overrides.

    Raises:
        UserError: an option has a wrong value, or `out` is not a file in a folder that exists.
    """
    own = [argument for argument in arguments if argument.partition("=")[0] in options.model_fields]
    parsed: Any = parse_options(options, own)
    if parsed.out and ((out := expand_path("out", parsed.out)).is_dir() or not out.absolute().parent.is_dir()):
        raise UserError(f"out={parsed.out}: expected a file in a folder that exists, such as models.csv.")
    return parsed, [argument for argument in arguments if argument not in own]


def expand_configs(overrides: Sequence[str]) -> list[tuple[dict[str, str], RunConfig]]:
    """The overrides and the checked configuration of every combination; weights need not be on this machine.

    Args:
        overrides: as of training, and `--config-dir`.

    Raises:
        UserError: all errors of all combinations, each once.
    """
    composer, folders, overrides = Composer.of_arguments(overrides)
    jobs = list(jobs_of(overrides, folders))
    if len(jobs) > 1:  # the unreduced model has one keep rate, whatever is listed for the others
        jobs = [tuple(o for o in job if "reducer=none" not in job or not o.startswith("keep_rate=")) for job in jobs]
    models, errors = [], {}
    for job in dict.fromkeys(jobs):
        try:
            models.append((dict(o.partition("=")[::2] for o in job), composer.load(job, resources=False)))
        except UserError as error:
            errors.update(dict.fromkeys(error.messages))
    if errors:
        raise UserError(*errors)
    return models


def build_model(config: RunConfig, classes: int):
    """A model with random weights."""
    from ufgir.models import create_model

    return create_model(**config.model_arguments(classes))


def count(job: dict[str, str], config: RunConfig, model) -> dict[str, Any]:
    """The row of a model: what it is, and its tokens, parameters and MACs."""
    from ufgir.config.identity import plugins_label
    from ufgir.models.backbones import backbone_label
    from ufgir.training.facts import measure

    measured = measure(model, config.image_size)
    measured["tokens"] = " ".join(str(measured["tokens"][layer]) for layer in config.reduction_layers)
    backbone = backbone_label(config.backbone.name, config.backbone.kwargs)
    named = {"backbone": backbone, "reducer": config.reducer.name, "keep_rate": show(config.keep_rate)}
    named |= {"plugins": plugins_label(config), "image_size": config.image_size}
    return {**named, **{key: value for key, value in job.items() if key not in named}, **measured}


def to_markdown(frame) -> str:
    """One row for each choice of overrides, columns for backbones and image sizes."""
    fixed = ("backbone", "image_size", "tokens", "params_m", "gmacs")
    names = [name for name in frame if name not in fixed and frame[name].nunique(dropna=False) > 1]
    # Backbones with the same patches keep the same tokens: one column is enough.
    is_shared = frame.groupby([*names, "image_size"], dropna=False)["tokens"].nunique().max() == 1
    rows: dict[tuple, dict[str, str]] = {}
    for model in frame.to_dict("records"):
        backbone, size = model["backbone"], model["image_size"]
        row = rows.setdefault(tuple(str(model[name]) for name in names), {})
        row[f"tokens at {size}" if is_shared else f"{backbone} tokens at {size}"] = model["tokens"]
        row.setdefault(f"{backbone} M params", f"{model['params_m']:.1f}")
        row[f"{backbone} GMACs at {size}"] = f"{model['gmacs']:.2f}"
    heads = sorted({head: None for row in rows.values() for head in row}, key=lambda head: "tokens at" not in head)
    table = [[*names, *heads], ["---"] * (len(names) + len(heads))]
    table += [[*key, *(row.get(head, "") for head in heads)] for key, row in rows.items()]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in table)


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
