"""Which model a checkpoint of the paper's authors holds: from the shapes of its weights and its recorded settings."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import yaml
from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from ufgir.errors import UserError
from ufgir.models.authors import REDUCER_PARAMETERS, AuthorsCheckpoint, Measures
from ufgir.models.backbones import describe, named_backbones
from ufgir.models.cache import CACHE_DEFAULTS
from ufgir.reducers import REDUCERS

SHAPES = "shapes of the weights"
PAPER = "the paper's"
PAPER_LAYERS = [3, 6, 9]
AUTHORS_REDUCERS = (*REDUCERS, "kmedoids", "sinkhorn", "heuristic")  # prefixes of the authors' model names
LISTS_OF_RATES = ("topk", "evit")  # a list of the other reducers holds counts, or shares of all tokens
DPCKNN_OPTIONS = {"k_neighbors": 5, "equal_weight": False}  # options of theirs and the only values that we have
TIMM_NAMES = {
    "vit_base_patch16_224.in1k_mocov3": "vit_b_mocov3",  # timm has no weights of MoCo v3, only the architecture
    "vit_small_patch16_224.in1k_mocov3": "vit_small_patch16_224",
    "vit_t16": "vit_tiny_patch16_224",
    "vit_s16": "vit_small_patch16_224",
    "vit_b16": "vit_base_patch16_224",
    "vit_l16": "vit_large_patch16_224",
    "vit_base_patch16_224_in21k": "vit_base_patch16_224.augreg_in21k",
    "vit_base_patch16_224_miil_in21k": "vit_base_patch16_224_miil.in21k",
    "vit_base_patch16_224_dino": "vit_base_patch16_224.dino",
    "deit3_base_patch16_224_in21ft1k": "deit3_base_patch16_224.fb_in22k_ft_in1k",
}  # the authors' names that timm does not know -> names that it knows
UNLIKE_OURS = {
    "custom_mean_std": "images were normalized with the data set's own mean and deviation, here with ImageNet's",
    "transform_timm": "images were prepared by timm's transforms, here as in the paper",
}  # recorded settings that change what the model was shown


# The authors' keep rate is a list, mostly of one.
Rates = Annotated[
    Annotated[float, Field(gt=0, le=1)] | Annotated[list[float], Field(min_length=2)],
    BeforeValidator(lambda rates: rates[0] if isinstance(rates, list) and len(set(map(str, rates))) == 1 else rates),
]
RECORDED: dict[str, tuple[Any, tuple[str, ...]]] = {
    "keep_rate": (Rates, ("keep_rate", "keep_rates", "keep_ratio", "token_ratio")),
    "reduction_layers": (
        Annotated[list[NonNegativeInt], Field(min_length=1)],
        ("reduction_loc", "reduction_layers", "reduction_locs", "pruning_loc", "cluster_loc"),
    ),
    "image_size": (PositiveInt, ("input_size", "image_size", "img_size")),
    "num_classes": (PositiveInt, ("num_classes", "nb_classes")),
    "plugins.cache": (bool, ("clc",)),
    "plugins.cache.num_clr": (NonNegativeInt, ("num_clr",)),
    "plugins.cache.gap": (bool, ("clc_include_gap",)),
    "plugins.cache.recover_at_last": (bool, ("clc_recover_at_last",)),
    "plugins.cache.pool_cls": (bool, ("clc_pool_cls",)),
    "plugins.cache.pool_clr": (bool, ("clc_pool_clr",)),
    "dataset": (Annotated[str, Field(pattern=r"^[A-Za-z][\w-]*$")], ("dataset_name", "dataset", "data_set")),
    "dataset.resize": (PositiveInt, ("test_resize_size", "resize_size")),
    "seed": (NonNegativeInt, ("seed",)),
    "optim.lr": (Annotated[float, Field(gt=0)], ("lr",)),
    "batch_size": (Annotated[int, Field(ge=2)], ("batch_size",)),
}  # our setting -> its type, and its names in the authors' programs


class Setting(NamedTuple):
    """A value in the form of our configuration, and where it was found."""

    value: Any
    source: str


class AuthorsSettings:
    """The settings of a checkpoint's model and training, by the keys of our configuration.

    What the user gives counts first, then what the shapes of the weights prove, then what the file records. Cache
    options and reduction layers that are found nowhere are the paper's. The settings are in `values`; what is
    contradicted or not followed is in `notes`, a sentence each.

    Raises:
        UserError: settings are missing or contradict the weights; all of them.
    """

    def __init__(self, checkpoint: AuthorsCheckpoint, measures: Measures, given: Mapping[str, Setting]) -> None:
        self.measures, self.given, self.recorded = measures, given, dict(_recorded(checkpoint))
        self.values: dict[str, Setting] = dict(given)
        proven = {
            "num_classes": measures.num_classes,
            "reducer": measures.reducer,
            "image_size": measures.side and measures.side * measures.patch,
            "plugins.head.name": measures.head,
            "plugins.head.multiplier": measures.multiplier,
            "plugins.cache": True if measures.num_clr else None,  # there are caches without CLR tokens
            "plugins.cache.num_clr": measures.num_clr,
        }
        proven = {key: Setting(value, SHAPES) for key, value in proven.items() if value is not None}
        self.notes = [f"{name}: {text}." for name, text in UNLIKE_OURS.items() if checkpoint.settings.get(name)]
        self.errors: list[str] = []
        for source in (proven, self.recorded):
            for key, setting in source.items():
                first = self.values.setdefault(key, setting)
                if first.value != setting.value and key in given and setting.source == SHAPES:
                    self.errors.append(f"{first.source}: the weights have {key}={setting.value}. Leave it out.")
                elif first.value != setting.value:
                    self.notes.append(f"{self._named(key)} is used, not {setting.value} ({setting.source}).")
        if measures.multiplier is None:
            self.values.pop("plugins.head.multiplier", None)
        size, resize = self.values.get("image_size"), self.values.get("dataset.resize")
        if size is None:
            self._missing("image_size", "image_size=PIXELS")
        elif resize and resize.value < size.value:
            self.notes.append(f"{resize.source}={resize.value} is less than the image size and not used.")
            del self.values["dataset.resize"]
        self._check_backbone()
        self._check_cache()
        self._check_reducer(checkpoint.settings)
        if self.errors:
            raise UserError(*self.errors)

    def _named(self, key: str) -> str:
        value, source = self.values[key]
        return source if key in self.given else f"{key}={value} ({source})"

    def _missing(self, key: str, advice: str) -> None:
        self.errors.append(f"{key}: not recorded in the checkpoint. Give {advice}.")

    def _check_backbone(self) -> None:
        m = self.measures

        def fits(name: str) -> bool:
            info = describe(name)
            return (info.depth, info.embed_dim, *info.patch) == (m.depth, m.width, m.patch, m.patch)

        fitting = ", ".join(filter(fits, named_backbones()))
        advice = "backbone=NAME, a timm name" + (f" or one of {fitting}" if fitting else "")
        if "backbone" not in self.values:
            return self._missing("backbone", advice)
        try:
            if not fits(self.values["backbone"].value):
                self.errors.append(
                    f"{self._named('backbone')}: the weights are of another backbone, with {m.depth} blocks of width "
                    f"{m.width} and patches of {m.patch} pixels. Give {advice}."
                )
        except UserError as error:
            self.errors += [f"{self._named('backbone')}: {message}" for message in error.messages]

    def _check_cache(self) -> None:
        if self.recorded:
            self.values.setdefault("plugins.cache", Setting(False, "no cache is recorded"))
        if "plugins.cache" not in self.values:
            return self._missing("plugins", "plugins=base, cla, clc, clca or ifa")
        recorded = self.recorded.get("plugins.cache", Setting(True, ""))
        if self.measures.num_clr and not recorded.value and "plugins.cache" not in self.given:
            self.errors.append(
                f"{recorded.source}=False: the weights have CLR tokens. If there is a cache, give plugins=clc or clca."
            )
        if self.values["plugins.cache"].value:
            paper = {f"plugins.cache.{option}": Setting(value, PAPER) for option, value in CACHE_DEFAULTS.items()}
            self.values = paper | self.values
        else:
            self.values = {key: value for key, value in self.values.items() if not key.startswith("plugins.cache.")}

    def _check_reducer(self, recorded: Mapping[str, object]) -> None:
        names = ", ".join(("none", *REDUCERS))
        if "reducer" not in self.values:
            return self._missing("reducer", f"reducer={names}")
        name, m = self.values["reducer"].value, self.measures
        if name != "none" and name not in REDUCERS:
            self.errors.append(f"{self._named('reducer')}: expected one of {names}.")
        elif name in REDUCER_PARAMETERS and m.reducer is None:
            self.errors.append(f"{self._named('reducer')}: the weights have no parameters of it. Give reducer=NAME.")
        for option, ours in DPCKNN_OPTIONS.items() if name == "dpcknn" else ():
            if (theirs := recorded.get(option, ours)) not in (ours, None):
                self.errors.append(f"{option}={theirs} is recorded: DPC-KNN has only {option}={ours} here.")
        if name == "none" and "reduction_layers" not in self.given:
            self.values["reduction_layers"] = Setting(PAPER_LAYERS, "the authors' unreduced model has no others")
        layers = self.values.setdefault("reduction_layers", Setting(PAPER_LAYERS, PAPER)).value
        collected = len({*layers, m.depth - 1})
        for found, needed, what in ((m.groups, collected, "collected class tokens"), (m.stages, len(layers), "stages")):
            if found and found != needed:
                self.errors.append(
                    f"{self._named('reduction_layers')}: the weights have {found} {what}, not {needed}. "
                    "Give reduction_layers=A,B,..., blocks counted from 0."
                )
        rate = self.values.get("keep_rate")
        means_another = rate and (name == "none" or (isinstance(rate.value, list) and name not in LISTS_OF_RATES))
        if means_another and "keep_rate" not in self.given:
            del self.values["keep_rate"]
        if "keep_rate" not in self.values and name != "none":
            self._missing("keep_rate", "keep_rate=RATE, the share of tokens kept at each reduction layer")


def _recorded(checkpoint: AuthorsCheckpoint) -> Iterator[tuple[str, Setting]]:
    """The settings in `args` or `config` that are understood."""

    def find(*names: str) -> list[tuple[str, Any]]:
        """The source and the value of those recorded under these names, in whatever section, that have a value."""
        return [
            (f"{checkpoint.section}.{key}", value)
            for name in names
            for key, value in checkpoint.settings.items()
            if (key == name or key.endswith(f".{name}")) and value not in (None, "")
        ]

    for key, (kind, names) in RECORDED.items():
        for source, value in find(*names):
            try:
                if isinstance(value, str) and key != "dataset":
                    value = yaml.safe_load(value)
                yield key, Setting(TypeAdapter(kind).validate_python(value), source)
                break
            except (ValidationError, yaml.YAMLError):  # not one that we could use
                continue
    for source, name in find("model", "model_name", "arch", "backbone", "model.name")[:1]:
        reducer = next((reducer for reducer in AUTHORS_REDUCERS if str(name).startswith(f"{reducer}_")), "none")
        backbone = str(name).removeprefix(f"{reducer}_")
        yield "backbone", Setting(TIMM_NAMES.get(backbone, backbone), source)
        yield "reducer", Setting(reducer, source)
    multiplier = next((value for _, value in find("ifa_dws_conv_groups")), 2)
    for source, aggregates in find("ifa_head"):
        head = "linear" if not aggregates else "cla" if multiplier else "ifa"
        yield "plugins.head.name", Setting(head, source)
        if head == "cla":
            yield "plugins.head.multiplier", Setting(multiplier, f"{checkpoint.section}.ifa_dws_conv_groups")
    for source, both in find("train_trainval"):
        yield "protocol", Setting("test" if both else "val", source)
    cooldown = next((value for _, value in find("cooldown_epochs")), 0)
    for source, epochs in find("epochs"):
        if isinstance(epochs, int) and isinstance(cooldown, int) and epochs > 0:
            yield "trainer.max_epochs", Setting(epochs + cooldown, f"{source} and cooldown_epochs")
