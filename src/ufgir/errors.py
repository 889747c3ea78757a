"""The kinds of error that are shown as text, without a traceback; and what lies behind an error."""

from collections.abc import Iterator


class UserError(Exception):
    """Faults that a user can mend, all those found, each saying what was given, what is allowed and what to do.

    Args:
        faults: one sentence or several for each fault.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults = list(faults)

    def __str__(self) -> str:
        if len(self.faults) == 1:
            return self.faults[0]
        lines = [f"{len(self.faults)} faults; nothing was started."]
        lines += [f"{number:2}. {fault}" for number, fault in enumerate(self.faults, start=1)]
        return "\n".join(lines)


class UfgirWarning(UserWarning):
    """Something that works, but probably not as it was meant."""


class RunFailed(Exception):
    """A run started and could not finish; the message is its reason."""


def behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came of: torch and Lightning raise one of their own where a file or Ctrl-C failed."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    """What an error says, in one line and without a full stop; its kind where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
