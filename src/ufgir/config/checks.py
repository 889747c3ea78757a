"""The values of a composed config, each by its own rule and then together."""

from collections.abc import Iterable, Iterator

from ufgir.config.extras import extra_fault, open_parent
from ufgir.config.messages import Faults, did_you_mean, nearest, nearest_key, typed
from ufgir.config.relations import RELATIONS
from ufgir.config.rules import ABSENT, RULES, Rule

SOURCES = {"trainer.max_epochs": "dataset.epochs", "backbone.pretrained": "dataset.pretrained"}  # unless set


def check(config: dict, faults: Faults) -> None:
    """Add all faults among the values of a plain, resolved config to `faults`.

    What depends on a setting that is faulty already is passed over.
    """
    settings = dict(flatten(config))
    for key, value in settings.items():
        source = SOURCES.get(key)
        repeats = source is not None and faults.touch(source) and value == settings.get(source)
        if not repeats and not faults.touch(key) and (text := _setting_fault(key, value)):
            faults.add(text, key)
    for key in _missing(settings):
        if not faults.touch(key):
            faults.add(f"{key} is missing. For example {typed(key, RULES[key].example)}.", key)
    for relation in RELATIONS:
        if not faults.touch(*relation.reads):
            for text in relation.faults(config):
                faults.add(text, *relation.blames, involved=relation.reads)


def flatten(config: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted name and value of every setting."""
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _missing(settings: Iterable[str]) -> list[str]:
    """Settings that every run needs and a config of someone's own may lack."""
    parts = [key.split(".") for key in settings]
    present = {".".join(names[:count]) for names in parts for count in range(1, len(names) + 1)}
    return [key for key in RULES if key not in present and not key.startswith(ABSENT)]


def _setting_fault(key: str, value: object) -> str | None:
    rule = RULES.get(key)
    if rule is not None:
        return None if rule.kind.accepts(value) else _value_fault(key, value, rule)
    if key.startswith("reducer."):
        return None  # options of a reducer of someone's own: its class says what there is
    if open_parent(key):
        return extra_fault(key, value)
    guesses = [typed(guess, value) for guess in nearest_key(key, RULES)]
    return f"{typed(key, value)}: there is no such setting.{did_you_mean(guesses)}"


def _value_fault(key: str, value: object, rule: Rule) -> str:
    guess = rule.kind.guess(value)
    guesses = [guess] if guess else nearest(str(value), rule.kind.words)
    advice = did_you_mean([f"{key}={guess}" for guess in guesses]) or f" For example {typed(key, rule.example)}."
    return f"{typed(key, value)}: expected {rule.kind.allowed}.{advice}"
