"""The words of a fault: what was typed, what comes nearest to it, and all faults of a command together."""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

ALIKE = 0.6  # similarity, 0 to 1, from which a word passes for a misspelling of another
ALIKE_KEY = 0.7  # the same for names of settings: there are more of them
ANYTHING = ("experiment", "debug")  # presets: while one of them is unknown, every other setting is


class Faults:
    """Faults found so far, and the settings they concern, so that no consequence of a fault is reported as another."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._open: set[str] = set()
        self._involved: set[str] = set()

    def add(self, text: str, *keys: str, involved: Iterable[str] = ()) -> None:
        """Note one fault.

        Args:
            text: what was given, what is allowed and what to do.
            keys: settings or groups whose values the fault leaves open.
            involved: further ones that had a part in it, though each is sound by itself.
        """
        self.texts.append(text)
        self._open.update(keys)
        self._involved.update(keys, involved)

    def touch(self, *keys: str) -> bool:
        """Whether the value of one of these settings, or of one above or below it, is open."""
        return any(
            fault in ANYTHING or _is_below(fault, key) or _is_below(key, fault) for key in keys for fault in self._open
        )

    def involve(self, *keys: str) -> bool:
        """Whether one of these settings, or one above it, had a part in a fault."""
        return any(_is_below(key, fault) for key in keys for fault in self._involved)


def nearest(word: str, choices: Iterable[str]) -> list[str]:
    """The choices most like `word`, several if they are equally like it; none if nothing is."""
    likeness = {choice: _likeness(word, choice) for choice in choices}
    best = max(likeness.values(), default=0.0)
    return [choice for choice in likeness if likeness[choice] == best][:3] if best >= ALIKE else []


def nearest_key(word: str, keys: Iterable[str]) -> list[str]:
    """As `nearest`, for dotted names: `lr` is near `optim.lr`, though a full name that is as near comes first."""
    likeness = {key: _likeness_of_keys(word, key) for key in keys}
    best = max(likeness.values(), default=0.0)
    return [key for key in likeness if likeness[key] == best][:3] if best >= ALIKE_KEY else []


def listed(words: Sequence[str], joint: str = "or") -> str:
    """`a, b or c`."""
    return f" {joint} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def did_you_mean(texts: Sequence[str]) -> str:
    """A question to put behind a fault, with its leading space; nothing if there is nothing to ask."""
    return f" Did you mean {listed(texts)}?" if texts else ""


def typed(key: str, value: object) -> str:
    """`key=value` as it would be typed."""
    return f"{key}={_typed_value(value)}"


def _is_below(key: str, other: str) -> bool:
    """Whether a setting is another one or part of it."""
    return key == other or key.startswith(f"{other}.")


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
        float(text)
    except ValueError:
        return text.lower() in ("true", "false", "null")
    return True


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one.lower(), other.lower()).ratio()


def _likeness_of_keys(one: str, other: str) -> float:
    (one_parent, _, one_name), (other_parent, _, other_name) = one.rpartition("."), other.rpartition(".")
    of_names = _likeness(one_name, other_name)
    return of_names if one_parent == other_parent else max(_likeness(one, other), 0.95 * of_names)
