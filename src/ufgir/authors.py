"""Convert a checkpoint that the paper's authors published into a weights file of ours.

    python -m ufgir.authors checkpoint=FILE out=FILE [backbone=NAME] [reducer=NAME] [keep_rate=RATE]
        [image_size=PIXELS] [reduction_layers=A,B,...] [plugins=NAME] [plugins.cache.OPTION=true|false]

checkpoint        a file of the first release (model and args) or of the follow-up (model and config)
out               the weights file to write; an existing one is never overwritten
backbone          a timm name, or one of ours, such as deit_b
reducer           none, evit, ...
keep_rate         share of the tokens kept at each reduction layer: 0.1, or one for each, 0.7,0.5,0.3
image_size        side of the images that the model was trained with, pixels
reduction_layers  blocks counted from 0: 3,6,9
plugins           base, cla, clc, clca or ifa
plugins.cache     gap, recover_at_last, pool_cls and pool_clr, as in plugins=clc

The options after the first two are needed only where the shapes of the weights and the settings in the file leave
something open. Nothing in the file is executed. Test the result: python -m ufgir.evaluate checkpoint=OUT dataset=NAME.
"""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, NonNegativeInt, PositiveInt

from ufgir.cli import DONE, parse_options, run_command
from ufgir.errors import UserError
from ufgir.utils import expand_path

if TYPE_CHECKING:
    from ufgir.config import RunConfig
    from ufgir.models.authors import Setting

Split = BeforeValidator(lambda text: text.strip("[]").split(","))


class Options(BaseModel):
    checkpoint: str
    out: str
    backbone: str | None = None
    reducer: str | None = None
    keep_rate: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Split] | None = None
    image_size: PositiveInt | None = None
    reduction_layers: Annotated[list[NonNegativeInt], Split] | None = None
    plugins: Literal["base", "cla", "clc", "clca", "ifa"] | None = None
    gap: bool | None = Field(None, alias="plugins.cache.gap")
    recover_at_last: bool | None = Field(None, alias="plugins.cache.recover_at_last")
    pool_cls: bool | None = Field(None, alias="plugins.cache.pool_cls")
    pool_clr: bool | None = Field(None, alias="plugins.cache.pool_clr")


def main(arguments: list[str]) -> int:
    """Read, find the settings, convert, write, and print what was done."""
    options = parse_options(Options, arguments)
    path, out = expand_path("checkpoint", options.checkpoint), expand_path("out", options.out)
    if out.is_dir():
        raise UserError(f"out={out}: expected a file, such as out={out / 'model.pt'}.")
    if out.exists() and path.exists() and out.samefile(path):
        raise UserError(f"out={out}: this is the checkpoint itself. Give another file.")

    import torch

    from ufgir.data.ultra_fgvc import SETS
    from ufgir.errors import show
    from ufgir.models import convert_authors_state_dict, create_model
    from ufgir.models.authors import find_settings, read_checkpoint
    from ufgir.training.checkpoint import load_weights, save_weights, weights_digest

    checkpoint = read_checkpoint(path)
    weights = checkpoint.state_dict
    settings = find_settings(checkpoint, given_settings(options))
    dtype = torch.float64 if any(value.dtype == torch.float64 for value in weights.values()) else torch.float32
    config = make_config({key: setting.value for key, setting in settings.items()}, dtype == torch.float64)
    num_classes = settings["num_classes"].value
    model = create_model(**config.model_arguments(num_classes))
    try:
        converted = convert_authors_state_dict(weights, model)
    except UserError as error:
        raise UserError(
            f"{error} If another model was recognized than it is, give backbone=, reducer= or plugins=."
        ) from error
    # Half precision becomes single. Copies, as the file is mapped into memory.
    converted = {
        name: value.to(dtype if value.is_floating_point() else value.dtype, copy=True)
        for name, value in converted.items()
    }
    model.load_state_dict(converted, strict=True, assign=True)
    class_names = [str(number) for number in range(num_classes)]  # a checkpoint has no names
    values = config.model_dump(by_alias=True)
    if is_there := out.exists():  # by the same command, or something else
        try:
            content = load_weights(out)
        except UserError:
            content = {"config": None}
        equal = (content["config"], content.get("class_names")) == (values, class_names)
        if not (equal and weights_digest(content["state_dict"]) == weights_digest(model.state_dict())):
            raise UserError(f"out={out}: it exists and holds something else. Remove it or give another out=FILE.")
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_weights(out, model, values, class_names)
    releases = {"args": "first release, settings in args", "config": "follow-up, settings in config"}
    print(f"{path}: {releases.get(checkpoint.section, 'weights alone, without settings')}\n")
    for key, (value, source) in settings.items():
        print(f"  {key:<{max(map(len, settings))}}  {show(value):<40}  {source}")
    print("", *(f"note: {note}" for note in checkpoint.notes), sep="\n")
    dropped = [name for name in weights if model.collected_layers and name.startswith("head.")]
    unused = f" ({', '.join(dropped)}: unused, as the aggregation head classifies)" if dropped else ""
    print(f"{len(weights)} entries, {len(converted)} of the model, {len(dropped)} dropped{unused}")
    name = config.dataset.name if config.dataset.name in SETS else "csv"
    print(f"\nNext: python -m ufgir.evaluate checkpoint={out} dataset={name} dataset.root=DIR")
    print(f"weights: {out}{' (exists already, with the same content)' if is_there else ''}", flush=True)
    return DONE


def given_settings(options: BaseModel) -> "dict[str, Setting]":
    """What the user said about the model."""
    from ufgir.config.identity import PLUGINS
    from ufgir.errors import show
    from ufgir.models.authors import Setting

    given = {}
    for key, value in options.model_dump(exclude={"checkpoint", "out"}, exclude_none=True, by_alias=True).items():
        source = f"{key}={show(value)}"
        if key == "plugins":
            head, cached = PLUGINS[value]
            given |= {"plugins.head.name": Setting(head, source), "plugins.cache": Setting(cached, source)}
        else:
            given[key] = Setting(value, source)
    return given


def make_config(values: Mapping[str, Any], double: bool) -> "RunConfig":
    """The configuration of the authors' run as ours.

    Args:
        values: settings by key, see `find_settings`.
        double: whether the weights are in double precision.

    Raises:
        UserError: there is no such configuration.
    """
    from ufgir.config import RunConfig, compose
    from ufgir.config.identity import PLUGINS
    from ufgir.data.ultra_fgvc import SETS
    from ufgir.models.backbones import timm_name_and_kwargs

    values = dict(values)
    head, cached = values.pop("plugins.head.name"), bool(values.pop("plugins.cache"))
    data = str(values.pop("dataset", ""))
    dataset = next((ours for ours, known in SETS.items() if data.lower() in known.aliases.split()), "csv")
    plugins = next(name for name, parts in PLUGINS.items() if parts == (head, cached))
    plugins = "clc" if plugins == "clc-ifa" else plugins  # which has no file of its own
    config = compose([f"dataset={dataset}", f"reducer={values.pop('reducer')}", f"plugins={plugins}"])
    if data and dataset == "csv":
        config["dataset"]["name"] = data
    name, kwargs = timm_name_and_kwargs(values.pop("backbone"))
    config["backbone"] = {"name": name, "pretrained": False, "checkpoint": None, "kwargs": kwargs}
    config["plugins"]["head"] = {"name": head}
    config["trainer"]["precision"] = "64-true" if double else "32-true"  # of the weights, not of this machine
    del values["num_classes"]
    for key, value in values.items():
        *parents, last = key.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        node[last] = value
    return RunConfig.load(config, resources=False)


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
