"""What the training program recorded beside the weights, in its own words."""

import re
from collections.abc import Callable, Iterator, Sequence

import yaml

from ufgir.config.rules import RULES
from ufgir.published.facts import Fact, Facts
from ufgir.published.names import model_facts
from ufgir.published.reading import Published

# Our setting -> the names it has in their programs, the likeliest first.
SPELLINGS = {
    "keep_rate": ("keep_rate", "keep_rates", "keep_ratio", "token_ratio"),
    "reduction_layers": ("reduction_loc", "reduction_layers", "reduction_locs", "pruning_loc", "cluster_loc"),
    "image_size": ("input_size", "image_size", "img_size"),
    "classes": ("num_classes", "nb_classes"),
    "plugins.cache": ("clc",),
    "plugins.cache.num_clr": ("num_clr",),
    "plugins.cache.gap": ("clc_include_gap",),
    "plugins.cache.recover_at_last": ("clc_recover_at_last",),
    "plugins.cache.pool_cls": ("clc_pool_cls",),
    "plugins.cache.pool_clr": ("clc_pool_clr",),
    "dataset": ("dataset_name", "dataset", "data_set"),
    "dataset.resize": ("test_resize_size", "resize_size"),
    "seed": ("seed",),
    "optim.lr": ("lr",),
    "optim.batch_size": ("batch_size",),
}
MODEL = ("model", "model_name", "arch", "backbone", "model.name")
HEAD, CLA_MULTIPLIER = ("ifa_head",), ("ifa_dws_conv_groups",)
EPOCHS, COOLDOWN = ("epochs",), ("cooldown_epochs",)
TRAIN_VAL = ("train_trainval",)
UNLIKE_OURS = {
    "custom_mean_std": "the images were normalised with their data set's own mean and deviation, here with ImageNet's",
    "transform_timm": "the images were prepared by timm's transforms, here as in the paper",
}  # settings that change what the model was shown


def setting_facts(published: Published) -> tuple[Facts, list[str]]:
    """The facts in `args` or `config`, and a remark on what is not understood or not followed."""
    settings, section = published.settings, published.section
    facts, remarks = {}, []
    for key, names in SPELLINGS.items():
        for name, value in _given(settings, names):
            if (value := _ours(key, value)) is not None:
                facts.setdefault(key, Fact(value, f"{section}.{name}"))
    for name, value in _given(settings, MODEL):
        found = model_facts(str(value))
        facts.update({key: Fact(fact, f"{section}.{name}") for key, fact in found.items() if key not in facts})
        if not found:
            remarks.append(f"{section}.{name}={value} is no model that timm knows.")
    facts.update(_combined(settings, section))
    remarks += [f"{section}.{name}: {text}." for name, text in UNLIKE_OURS.items() if settings.get(name)]
    return facts, remarks


def _combined(settings: dict[str, object], section: str) -> Iterator[tuple[str, Fact]]:
    """Facts that two of their settings make together, or one of another kind than ours."""
    for name, ifa in _given(settings, HEAD):
        multiplier = next((value for _, value in _given(settings, CLA_MULTIPLIER)), 2)
        head = "linear" if not ifa else "cla" if multiplier else "ifa"
        yield "plugins.head.name", Fact(head, f"{section}.{name}")
        if head == "cla":
            yield "plugins.head.multiplier", Fact(multiplier, f"{section}.{CLA_MULTIPLIER[0]}")
    for name, both in _given(settings, TRAIN_VAL):
        yield "protocol", Fact("test" if both else "val", f"{section}.{name}")
    for name, epochs in _given(settings, EPOCHS):
        cooldown = next((value for _, value in _given(settings, COOLDOWN)), 0)
        if isinstance(epochs, int) and isinstance(cooldown, int) and epochs > 0:
            yield "trainer.max_epochs", Fact(epochs + cooldown, f"{section}.{name} and {COOLDOWN[0]}")


def _given(settings: dict[str, object], names: Sequence[str]) -> Iterator[tuple[str, object]]:
    """Names and values of those settings that have one of `names` and a value, below whatever section they are."""
    for name in names:
        for key, value in settings.items():
            if (key == name or key.endswith(f".{name}")) and value is not None and value != "":
                yield key, value


def _ours(key: str, value: object) -> object:
    """A value of theirs in our form, or None where it is none that we could use."""
    if isinstance(value, str) and key != "dataset":
        value = yaml.safe_load(value) if re.fullmatch(r"[\w\s.,+\-\[\]]*", value) else None
    return CLEAN.get(key, _as_ruled)(key, value)


def _as_ruled(key: str, value: object) -> object:
    return value if key not in RULES or RULES[key].kind.accepts(value) else None


def _one_rate(key: str, value: object) -> object:
    """Their keep rate is a list, mostly of one."""
    rates = value if isinstance(value, list) else [value]
    return _as_ruled(key, rates[0] if len(set(map(str, rates))) == 1 else rates)


def _dataset(key: str, value: object) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w-]*", value) else None


def _batch(key: str, value: object) -> object:
    """Of one image only, a batch could not train the CLA head; it says nothing of the weights."""
    return _as_ruled(key, value) if value != 1 else None


def _flag(key: str, value: object) -> object:
    return value if isinstance(value, bool) else None


def _count(key: str, value: object) -> object:
    return value if isinstance(value, int) and value > 0 else None


CLEAN: dict[str, Callable[[str, object], object]] = {
    "keep_rate": _one_rate,
    "classes": _count,
    "plugins.cache": _flag,
    "dataset": _dataset,
    "optim.batch_size": _batch,
}
