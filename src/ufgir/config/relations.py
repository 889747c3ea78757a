"""What settings must satisfy together. Each relation sees a config whose settings are sound by themselves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import lcm

from ufgir.config.messages import listed, typed
from ufgir.config.rules import choices
from ufgir.config.settings import default_resize, keep_rate_of, schedule_epochs
from ufgir.errors import UserError
from ufgir.files import typed_path
from ufgir.models.backbones import facts_of, has_other_sizes, official_file
from ufgir.models.options import reducer_options


@dataclass(frozen=True)
class Relation:
    """What several settings, each sound by itself, must satisfy together.

    Args:
        reads: the settings or groups that `faults` looks at.
        faults: of a plain, resolved config, a sentence for each fault among them.
        blames: the settings or groups that a fault makes useless for further relations.
    """

    reads: tuple[str, ...]
    faults: Callable[[dict], Iterator[str]]
    blames: tuple[str, ...] = ()


def _backbone_exists(config: dict) -> Iterator[str]:
    try:
        facts_of(config["backbone"])
    except UserError as error:
        yield from error.faults


def _weights_exist(config: dict) -> Iterator[str]:
    backbone = config["backbone"]
    if (file := backbone["checkpoint"]) is not None:
        path, misread = typed_path("backbone.checkpoint", file)
        yield from misread
        if not misread and not path.is_file():
            yield (
                f"{typed('backbone.checkpoint', file)}: there is no such file; looked at {path.absolute()}. "
                "Give a file with weights of this backbone, or backbone.checkpoint=null."
            )
    elif not backbone["pretrained"]:
        return
    elif text := official_file(backbone["name"], backbone["kwargs"]):
        yield text
    elif has_other_sizes(backbone["name"], backbone["kwargs"]):
        yield (
            f"{typed('backbone.kwargs', backbone['kwargs'])}: there are no trained weights of these sizes. "
            "Start from random ones with backbone.pretrained=false, or leave the sizes as they are."
        )


def _image_fits_patches(config: dict) -> Iterator[str]:
    size, patch = config["image_size"], facts_of(config["backbone"]).patch
    step = lcm(*patch)
    if size % step:
        fitting = max(1, round(size / step)) * step
        yield (
            f"image_size={size}: expected a multiple of {step}, the patch size of {config['backbone']['name']}. "
            f"Did you mean image_size={fitting}?"
        )


def _layers_are_ordered(config: dict) -> Iterator[str]:
    layers = config["reduction_layers"]
    ordered = sorted(set(layers))
    if layers != ordered:
        yield (
            f"{typed('reduction_layers', layers)}: expected ascending blocks, each of them once. "
            f"Did you mean {typed('reduction_layers', ordered)}?"
        )


def _layers_exist(config: dict) -> Iterator[str]:
    layers, depth = config["reduction_layers"], facts_of(config["backbone"]).depth
    beyond = [str(layer) for layer in layers if layer >= depth]
    if beyond:
        yield (
            f"{typed('reduction_layers', layers)}: there is no block {listed(beyond)}; "
            f"{config['backbone']['name']} has {depth} blocks, numbered from 0 to {depth - 1}."
        )


def _one_rate_per_layer(config: dict) -> Iterator[str]:
    rates, layers = config["keep_rate"], config["reduction_layers"]
    if isinstance(rates, list) and len(rates) != len(layers):
        yield (
            f"{typed('keep_rate', rates)}: {len(rates)} rates for the {len(layers)} layers of "
            f"{typed('reduction_layers', layers)}. Give one for each of them, or one number for all."
        )


def _no_reducer_keeps_all(config: dict) -> Iterator[str]:
    rate = keep_rate_of(config)
    if config["reducer"]["name"] == "none" and rate != 1:
        word = "keep_rate" if config["keep_rate"] is not None else "reducer.keep_rate"
        reducers = listed([f"reducer={name}" for name in choices("reducer") if name != "none"])
        yield (
            f"{typed(word, rate)} with reducer=none: without a reducer every token is kept. "
            f"Leave {word} out, or choose {reducers}."
        )


def _reducer_has_options(config: dict) -> Iterator[str]:
    settings = {name: value for name, value in config["reducer"].items() if name != "keep_rate"}
    try:
        reducer_options(settings)
    except UserError as error:
        yield from error.faults
    except ValueError as error:
        yield str(error)


def _cache_holds_something(config: dict) -> Iterator[str]:
    cached = config["plugins"]["cache"]
    if cached and cached["num_clr"] == 0 and not cached["gap"]:
        yield (
            "plugins.cache.num_clr=0 with plugins.cache.gap=false: the cache would hold nothing. "
            "Set one of the two, or choose plugins=cla or plugins=base."
        )


def _batch_norm_sees_two_images(config: dict) -> Iterator[str]:
    if config["plugins"]["head"]["name"] == "cla" and config["optim"]["batch_size"] == 1:
        yield (
            f"optim.batch_size=1 with {typed('plugins', config['plugins']['name'])}: the BatchNorm of the CLA head "
            "needs two images to train. Give at least optim.batch_size=2, or choose plugins=base or plugins=clc."
        )


def _schedule_has_room(config: dict) -> Iterator[str]:
    optim, epochs = config["optim"], config["trainer"]["max_epochs"]
    warmup, cooldown = schedule_epochs(epochs, optim["warmup_epochs"], optim["cooldown_epochs"])
    if warmup + cooldown >= epochs:
        yield (
            f"optim.warmup_epochs={warmup} and optim.cooldown_epochs={cooldown}: they leave nothing of "
            f"trainer.max_epochs={epochs} to the cosine. Their sum may be {epochs - 1} at most; "
            "null chooses both by the number of epochs."
        )


def _resize_holds_crop(config: dict) -> Iterator[str]:
    side, size = config["dataset"]["resize"], config["image_size"]
    if side is not None and side < size:
        yield (
            f"dataset.resize={side}: expected at least image_size={size}, which is cropped out of it. "
            f"Leave it out for {default_resize(size)}."
        )


def _output_can_be_looked_for(config: dict) -> Iterator[str]:
    yield from typed_path("output_root", config["output_root"])[1]


SCHEDULE = ("optim.warmup_epochs", "optim.cooldown_epochs", "trainer.max_epochs", "dataset.epochs")

RELATIONS = (
    Relation(("backbone",), _backbone_exists, blames=("backbone",)),
    Relation(("backbone.checkpoint", "backbone"), _weights_exist),
    Relation(("image_size", "backbone"), _image_fits_patches),
    Relation(("reduction_layers",), _layers_are_ordered),
    Relation(("reduction_layers", "backbone"), _layers_exist),
    Relation(("keep_rate", "reduction_layers"), _one_rate_per_layer),
    Relation(("keep_rate", "reducer"), _no_reducer_keeps_all),
    Relation(("reducer",), _reducer_has_options),
    Relation(("plugins.cache",), _cache_holds_something),
    Relation(("optim.batch_size", "plugins"), _batch_norm_sees_two_images),
    Relation(SCHEDULE, _schedule_has_room),
    Relation(("dataset.resize", "image_size"), _resize_holds_crop),
    Relation(("output_root",), _output_can_be_looked_for),
)
