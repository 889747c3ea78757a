"""Whether overrides name choices and settings that exist."""

from collections.abc import Iterator
from functools import reduce

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from ufgir.config.arguments import GROUPS
from ufgir.config.checks import flatten
from ufgir.config.extras import OPEN, arguments, open_parent
from ufgir.config.messages import Faults, did_you_mean, listed, nearest, nearest_key
from ufgir.config.rules import RULES, choices
from ufgir.resources import conf_dir

PRESETS = ("debug", "experiment")  # groups of which none need be chosen, and several may be
CODE = ("reducer", "plugins", "augment", "optim", "logger")  # groups whose `name` says which code runs
HINTS = {
    "backbone": "Any other plain ViT of timm: backbone.name=NAME.",
    "dataset": "Your own images: dataset=csv dataset.root=DIR, or dataset=folder dataset.root=DIR.",
}
SYNONYMS = {
    "batch": "optim.batch_size",
    "data": "dataset",
    "epochs": "trainer.max_epochs",
    "gpus": "trainer.devices",
    "img_size": "image_size",
    "learning_rate": "optim.lr",
    "method": "reducer",
    "model": "backbone",
    "pretrained": "backbone.pretrained",
    "workers": "dataset.num_workers",
}  # what other programs call it


def is_choice(override: Override) -> bool:
    """Whether an override chooses from a group, and does not set a value."""
    name = override.key_or_group
    return (name in GROUPS or name.startswith("hydra/")) and not isinstance(override.value(), dict)


def choice_fault(override: Override) -> str | None:
    """What is wrong with a choice from a group, or None."""
    text, group, value = override.input_line, override.key_or_group, override.value()
    if override.package is not None:
        return f"{text}: @ has no use here. Write {group}={value}."
    if group.startswith("hydra/"):
        return None
    if override.is_delete():
        return None if group in PRESETS else f"{text}: every run needs one. Choose {group}={listed(choices(group))}."
    if override.is_add():
        return f"{text}: the group {group} is there already. Write {group}={value}."
    if group in PRESETS and value is None:
        return None
    if isinstance(value, list) and group not in PRESETS:
        several = ",".join(map(str, value))
        return f"{text}: expected one choice. To start one run for each: {group}={several} --multirun."
    wrong = [str(item) for item in (value if isinstance(value, list) else [value]) if item not in choices(group)]
    return f"{text}: {_unknown_choice(group, wrong[0])}" if wrong else None


def setting_fault(override: Override, base: dict) -> str | None:
    """What is wrong with the name of a setting, or None.

    Args:
        override: of a setting.
        base: the plain, unresolved config of all choices, before any setting.
    """
    text, key, value = override.input_line, override.key_or_group, override.value()
    if key.startswith("hydra."):
        return None
    if override.package is not None:
        return f"{text}: @ has no use here. Write {key}={_value_text(text)}."
    exists = _exists(base, key)
    if override.is_delete():
        return _deletion_fault(text, key, exists)
    group, _, name = key.partition(".")
    if group in CODE and name == "name":
        return f"{text}: the name goes with the choice. Write {group}={value}."
    if exists:
        return _existing_fault(override, base)
    if override.is_add() and (open_parent(key) or key in OPEN):
        return None
    return f"{text}: {_unknown_setting(override, base)}"


def meant_by(key: str) -> list[str]:
    """The settings and groups that an unknown name may stand for."""
    if known := SYNONYMS.get(key.rpartition(".")[2]):
        return [known]
    return nearest_key(key, [*RULES, *GROUPS])


def _unknown_choice(group: str, word: str) -> str:
    there_are = f"expected {listed(choices(group))}."
    guesses = did_you_mean([f"{group}={guess}" for guess in nearest(word, choices(group))])
    return " ".join(filter(None, [f"there is no {group} {word};", there_are + guesses, HINTS.get(group)]))


def _deletion_fault(text: str, key: str, exists: bool) -> str | None:
    if not exists:
        return f"{text}: there is no such setting to take away.{did_you_mean([f'~{guess}' for guess in meant_by(key)])}"
    if open_parent(key) == "backbone.kwargs":
        return None
    return f"{text}: every setting is needed, none can be taken away. Give it another value: {key}=VALUE."


def _existing_fault(override: Override, base: dict) -> str | None:
    """`+` on a setting that exists, one value for a whole node, or unknown names below it."""
    text, key, value = override.input_line, override.key_or_group, override.value()
    node = reduce(lambda node, name: node[int(name) if isinstance(node, list) else name], key.split("."), base)
    if override.is_add() and not override.is_force_add() and key not in OPEN:
        return f"{text}: {key} exists. Write it without the plus: {text.lstrip('+')}"
    if not isinstance(node, dict):
        return None
    if not isinstance(value, dict):
        names = list(node)
        if key == "plugins.cache" and value is False or not names:
            return None
        return f"{text}: {key} has the settings {listed(names, 'and')}. Set one of them: {key}.{names[0]}=VALUE."
    unknown = [name for name, _ in flatten(value, f"{key}.") if not _exists(base, name) and not override.is_add()]
    return f"{text}: {_unknown_setting(override, base, unknown[0])}" if unknown else None


def _unknown_setting(override: Override, base: dict, key: str = "") -> str:
    """Say that there is no setting `key`, which of the choices have it, and what else may be meant."""
    key = key or override.key_or_group
    value = _value_text(override.input_line)
    if open_parent(key) and key.rpartition(".")[2] in arguments(open_parent(key)) and not override.is_add():
        return f"conf/ has no {key}. To pass it on to {OPEN[open_parent(key)]}, add a plus: +{key}={value}"
    group = key.partition(".")[0]
    if having := list(_choices_with(key)):
        return f"the present choice has no such setting. It belongs to {listed(having)}."
    if override.is_add() and not meant_by(key):
        return f"only below {listed([f'{parent}.' for parent in OPEN], 'and')} can settings be added."
    guesses = [_suggestion(guess, value) for guess in meant_by(key)]
    if not guesses and group in GROUPS and group in base:
        return f"there is no such setting; {group} has {listed(list(base[group]), 'and')}."
    settings = [name for name in base if name not in GROUPS]
    advice = did_you_mean(guesses) or f" There are {listed(settings, 'and')}, and the groups {listed(GROUPS, 'and')}."
    return f"there is no such setting.{advice}"


def _suggestion(name: str, value: str) -> str:
    if name in GROUPS and value not in choices(name):
        return f"{name}={'|'.join(nearest(value, choices(name)) or choices(name))}"
    return f"{name}={value}"


def _choices_with(key: str) -> Iterator[str]:
    """Choices of a setting's group that have it."""
    group, _, rest = key.partition(".")
    for choice in choices(group) if group in GROUPS and rest else ():
        if _exists(OmegaConf.to_container(OmegaConf.load(conf_dir() / group / f"{choice}.yaml")), rest):
            yield f"{group}={choice}"


def _exists(config: dict, key: str) -> bool:
    node: object = config
    for name in key.split("."):
        if isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, dict) and name in node:
            node = node[name]
        else:
            return False
    return True


def _value_text(text: str) -> str:
    return text.partition("=")[2]
