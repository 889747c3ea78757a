"""What the user says of a checkpoint, where it does not tell by itself or is wrong."""

from collections.abc import Mapping

from hydra.core.override_parser.types import Override

from ufgir.config import compose_run
from ufgir.config.arguments import read_arguments
from ufgir.config.messages import Faults
from ufgir.config.rules import RULES, choices
from ufgir.published.facts import Fact, Facts, plugin_choices

GROUPS = ("reducer", "plugins")  # words whose values are choices of our config
CACHE = ("gap", "recover_at_last", "pool_cls", "pool_clr")
FACTS = (
    "backbone", "reducer", "keep_rate", "image_size", "reduction_layers", "plugins",
    *(f"plugins.cache.{option}" for option in CACHE),
)  # fmt: skip


def word_facts(words: Mapping[str, str]) -> tuple[Facts, list[str]]:
    """The facts that the user gives, and a sentence for each word that cannot be one.

    Args:
        words: values by the words `FACTS`; others are passed over.
    """
    texts = [f"{key}={value}" for key, value in words.items() if key in FACTS]
    found = Faults()
    overrides = read_arguments(texts, found)
    faults, facts = found.texts, {}
    for override in overrides:
        key, value, text = override.key_or_group, override.value(), override.input_line
        if not _is_sound(override):
            faults += compose_run([text])[1]
        elif key == "plugins":
            head, cached = plugin_choices()[value]
            facts["plugins.head.name"], facts["plugins.cache"] = Fact(head, text), Fact(cached, text)
        elif value is not None:
            facts[key] = Fact(RULES[key].kind.canonical(value) if key in RULES else value, text)
    return facts, faults


def _is_sound(override: Override) -> bool:
    key, value = override.key_or_group, override.value()
    if key in GROUPS:
        return value in choices(key)
    return key not in RULES or RULES[key].kind.accepts(value)
