"""Whether overrides name choices and settings that exist."""

from collections.abc import Iterator

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from ufgir.config.arguments import GROUPS
from ufgir.config.checks import flatten
from ufgir.config.extras import OPEN, arguments, open_parent
from ufgir.config.messages import did_you_mean, listed, nearest, nearest_key, typed
from ufgir.config.rules import RULES, choices
from ufgir.resources import group_files

PRESETS = ("debug", "experiment")  # groups of which none need be chosen, and several may be
CODE = ("reducer", "plugins", "augment", "optim", "logger")  # groups whose `name` says which code runs
BEYOND = {
    "backbone": " Any other plain ViT of timm is chosen with backbone.name={}.",
    "dataset": " For your own images: dataset=csv dataset.root=DIR, or dataset=folder dataset.root=DIR.",
}  # how to have what is no choice of the group
HYDRAS = "Hydra's own settings have an effect only with --multirun; run folders lie in output_root=DIR."
NOTHING = object()
SYNONYMS = {
    "batch": "optim.batch_size",
    "data": "dataset",
    "epoch": "trainer.max_epochs",
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
    group, value = override.key_or_group, override.value()
    if group.startswith("hydra/"):
        return HYDRAS
    if override.package is not None:
        return f"@ has no use here. Write {group}={value}."
    if override.is_delete():
        return None if group in PRESETS else f"every run needs one. Choose {group}={listed(choices(group))}."
    if _adds(override):
        return f"the group {group} is there already. Write {group}={value}."
    if group in PRESETS and value is None:
        return None
    if isinstance(value, list) and group not in PRESETS:
        return f"expected one choice. To start one run for each: {group}={','.join(map(str, value))} --multirun."
    wrong = [str(item) for item in (value if isinstance(value, list) else [value]) if item not in choices(group)]
    return _unknown_choice(group, wrong[0]) if wrong else None


def setting_fault(override: Override, base: dict) -> str | None:
    """What is wrong with the name of a setting, or None.

    Args:
        override: of a setting.
        base: the plain, unresolved config of all choices, before any setting.
    """
    key, value = override.key_or_group, override.value()
    group, _, name = key.partition(".")
    if group == "hydra":
        return HYDRAS
    if override.package is not None:
        return f"@ has no use here. Write {key}={_value_text(override)}."
    if override.is_delete():
        return _deletion_fault(key, base)
    if group in CODE and name == "name":
        return f"the name goes with the choice. Write {group}={value}."
    if _exists(base, key):
        return _existing_fault(override, base)
    if open_parent(key) == "backbone.kwargs" or (_adds(override) and open_parent(key)):
        return None
    return _unknown_setting(override, base, f"{key}={_value_text(override)}")


def meant_by(key: str) -> list[str]:
    """The settings and groups that an unknown name may stand for."""
    if known := SYNONYMS.get(key.rpartition(".")[2]):
        return [known]
    return nearest_key(key, RULES if "." in key else [*RULES, *GROUPS])


def _unknown_choice(group: str, word: str) -> str:
    allowed = [*choices(group), *(["null"] if group in PRESETS else [])]
    guesses = [f"{group}={guess}" for guess in nearest(word, choices(group))]
    return f"expected {listed(allowed)}.{did_you_mean(guesses) or BEYOND.get(group, '').format(word)}"


def _deletion_fault(key: str, base: dict) -> str | None:
    if not _exists(base, key):
        return "there is no such setting to take away."
    if open_parent(key) == "backbone.kwargs":
        return None
    return f"every setting is needed, none can be taken away. Give it another value: {key}=VALUE."


def _existing_fault(override: Override, base: dict) -> str | None:
    """`+` on a setting that exists, one value for a whole node, or unknown names below it."""
    key, value = override.key_or_group, override.value()
    node = _node(base, key)
    if override.is_add() and not override.is_force_add() and key not in OPEN:
        return f"{key} exists. Write it without the plus: {key}={_value_text(override)}"
    if not isinstance(node, dict):
        return None
    if not isinstance(value, dict):
        names = list(node)
        if key == "plugins.cache" and value is False or not names:
            return None
        return f"{key} has the settings {listed(names, 'and')}. Set one of them: {key}.{names[0]}=VALUE."
    unknown = [typed(*item) for item in flatten(value, f"{key}.") if not _exists(base, item[0])]
    return None if _adds(override) or not unknown else _unknown_setting(override, base, unknown[0])


def _unknown_setting(override: Override, base: dict, setting: str) -> str:
    """Say that there is no such `setting`, which of the choices have it, and what else may be meant."""
    key, _, value = setting.partition("=")
    parent = open_parent(key)
    if parent and key.rpartition(".")[2] in arguments(parent) and not _adds(override):
        return f"conf/ has no {key}. To pass it on to {OPEN[parent]}, add a plus: +{override.input_line}"
    group = key.partition(".")[0]
    if having := list(_choices_with(key)):
        return f"the present choice has no such setting. It belongs to {listed(having)}."
    if _adds(override) and not meant_by(key):
        return f"only below {listed([f'{parent}.' for parent in OPEN], 'and')} can settings be added."
    guesses = [_suggestion(guess, value) for guess in meant_by(key)]
    if not guesses and group in GROUPS and group in base:
        names = [name for name in base[group] if name != "name" or group not in CODE]
        return f"there is no such setting; {group} has {listed(names, 'and')}."
    settings = [name for name in base if name not in GROUPS]
    advice = did_you_mean(guesses) or f" There are {listed(settings, 'and')}, and the groups {listed(GROUPS, 'and')}."
    return f"there is no such setting.{advice}"


def _suggestion(name: str, value: str) -> str:
    if name in GROUPS and value not in choices(name):
        return f"{name}={listed(nearest(value, choices(name)) or choices(name))}"
    return f"{name}={value}"


def _choices_with(key: str) -> Iterator[str]:
    """Choices of a setting's group that have it."""
    group, _, rest = key.partition(".")
    for choice in group_files(group) if group in GROUPS and rest else ():
        if _exists(OmegaConf.to_container(OmegaConf.load(choice)), rest):
            yield f"{group}={choice.stem}"


def _exists(config: dict, key: str) -> bool:
    return _node(config, key) is not NOTHING


def _node(config: dict, key: str) -> object:
    """What stands at a dotted name, or `NOTHING`."""
    node: object = config
    for name in key.split("."):
        if isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, dict):
            node = node.get(name, NOTHING)
        else:
            return NOTHING
    return node


def _adds(override: Override) -> bool:
    return override.is_add() or override.is_force_add()


def _value_text(override: Override) -> str:
    return override.input_line.partition("=")[2]
