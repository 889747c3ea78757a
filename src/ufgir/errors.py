"""Errors that are shown as text, without a traceback."""

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError


class UserError(Exception):
    """One or several mistakes that the user can fix. The command ends with exit code 2.

    Args:
        messages: one sentence or two for each mistake: what was given, what is allowed and what to do.
    """

    def __init__(self, *messages: str) -> None:
        super().__init__(*messages)
        self.messages = list(messages)

    def __str__(self) -> str:
        if len(self.messages) == 1:
            return self.messages[0]
        return "\n".join([f"{len(self.messages)} errors:", *(f"  - {message}" for message in self.messages)])


class RunFailed(Exception):
    """A run started and could not finish; the message is its reason. The command ends with exit code 1."""


class UfgirWarning(UserWarning):
    """Something that works, but probably not as intended."""


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print each `UfgirWarning` once and as one line, without file and line of the source."""
    show, printed = warnings.showwarning, set()

    def show_plainly(message: Warning | str, category: type[Warning], *where: object) -> None:
        if not issubclass(category, UfgirWarning):
            show(message, category, *where)
        elif str(message) not in printed:
            printed.add(str(message))
            print(f"warning: {message}", file=sys.stderr)

    warnings.simplefilter("always", UfgirWarning)
    warnings.showwarning = show_plainly
    try:
        yield
    finally:
        warnings.showwarning = show


def exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes: torch and Lightning raise errors of their own after a failed write or Ctrl-C."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


OOM_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "unable to allocate", "alloc_failed")
OOM_HINT = (
    "out of memory. Lower batch_size, image_size or keep_rate; a training can also use "
    "trainer.accumulate_grad_batches=2 for the same images per step, or trainer.gradient_checkpointing=true."
)


def known_cause(error: BaseException) -> str | None:
    """Why something failed, where that is no bug: too little memory, or a file that the system refuses."""
    causes = list(exception_chain(error))
    if any(isinstance(c, MemoryError) or any(sign in str(c).lower() for sign in OOM_SIGNS) for c in causes):
        return OOM_HINT
    refused = next((c for c in causes if isinstance(c, OSError) and c.strerror), None)
    return None if refused is None else f"{refused.filename or 'disk'}: {refused.strerror}"


def summarize(error: BaseException) -> str:
    """The type of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *(line.rstrip(".") for line in lines[:1])])


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """` Did you mean 'x'?` with the closest choice, or an empty string."""
    close = get_close_matches(str(word), list(choices), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def validation_messages(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """The errors of pydantic in the words of a command line: for each its key, the value, and what is allowed."""
    messages = []
    for details in error.errors(include_url=False):
        names = [n for n in details["loc"] if isinstance(n, str) and not n.startswith(("function-", "list["))]
        names = [name for name in names if name not in ("float", "int", "str", "CacheConfig")]
        key, kind, value = ".".join(names), details["type"], details["input"]
        text = details["msg"].removeprefix("Value error, ").replace("Input should be", "expected").removesuffix(".")
        hint = ""
        if kind == "extra_forbidden":
            parent: Any = model
            for name in names[:-1]:
                known = getattr(parent, "model_fields", {})
                parent = known[name].annotation if name in known else None
            text, hint = "there is no such setting", did_you_mean(names[-1], getattr(parent, "model_fields", {}))
        elif kind == "literal_error":
            hint = did_you_mean(value, text.split("'")[1::2])
        if kind == "missing":
            messages.append(f"{key}: missing. Give {key}=VALUE.")
        else:
            messages.append(f"{key}={show(value)}: {text}.{hint}" if key else f"{text}.")
    return messages


def show(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(show, value)) + "]"
    return str(value)
