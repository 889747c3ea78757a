"""How faults are worded: long lists are cut, and a foreign error becomes half a sentence."""

from collections.abc import Sequence

NAMED = 10  # a message names at most so many images or lines


def listed(items: Sequence[object]) -> str:
    """`a, b and 3 more`: the first ten of `items`."""
    text = ", ".join(str(item) for item in items[:NAMED])
    return f"{text} and {len(items) - NAMED} more" if len(items) > NAMED else text


def reason(error: Exception) -> str:
    """What went wrong, in one line and without the path that an OSError repeats."""
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    return text.splitlines()[0]
