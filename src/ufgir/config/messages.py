"""The words of a fault: what was typed, what comes nearest to it, and all faults of a command together."""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

import yaml

ALIKE = 0.6  # similarity, 0 to 1, from which a word passes for a misspelling of another
ANYTHING = ("experiment", "debug")  # presets: while one of them is unknown, every other setting is


class Faults:
    """Faults found so far, and the settings they concern, so that no consequence of a fault is reported as another."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._keys: set[str] = set()

    def add(self, text: str, *keys: str) -> None:
        """Note one fault and the settings or groups whose values it leaves open."""
        self.texts.append(text)
        self._keys.update(keys)

    def touch(self, *keys: str) -> bool:
        """Whether the value of one of these settings, or of one above or below it, is open."""
        return any(
            fault in ANYTHING or fault == key or fault.startswith(f"{key}.") or key.startswith(f"{fault}.")
            for key in keys
            for fault in self._keys
        )


def nearest(word: str, choices: Iterable[str]) -> list[str]:
    """The choices most like `word`, several if they are equally like it; none if nothing is."""
    likeness = {choice: _likeness(word, choice) for choice in choices}
    best = max(likeness.values(), default=0.0)
    return [choice for choice in likeness if likeness[choice] == best][:3] if best >= ALIKE else []


def nearest_key(word: str, keys: Iterable[str]) -> list[str]:
    """As `nearest`, for dotted names: `lr` is near `optim.lr`, though a full name that is as near comes first."""
    likeness = {key: max(_likeness(word, key), 0.95 * _likeness(_last(word), _last(key))) for key in keys}
    best = max(likeness.values(), default=0.0)
    return [key for key in likeness if likeness[key] == best][:3] if best >= ALIKE else []


def listed(words: Sequence[str], joint: str = "or") -> str:
    """`a, b or c`."""
    return f" {joint} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def did_you_mean(texts: Sequence[str]) -> str:
    """A question to put behind a fault, with its leading space; nothing if there is nothing to ask."""
    return f" Did you mean {listed(texts)}?" if texts else ""


def typed(key: str, value: object) -> str:
    """`key=value` as it would be typed."""
    return f"{key}={_typed_value(value)}"


def _typed_value(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_typed_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_typed_value(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) and _reads_as_another_type(value) else str(value)


def _reads_as_another_type(text: str) -> bool:
    try:
        return bool(text) and not isinstance(yaml.safe_load(text), str)
    except yaml.YAMLError:
        return False


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one.lower(), other.lower()).ratio()


def _last(key: str) -> str:
    return key.rpartition(".")[2]
