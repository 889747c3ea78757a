"""How every command begins and ends: its words, its exit codes, and no traceback for a user's mistake."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from ufgir.config.messages import did_you_mean, listed, nearest
from ufgir.errors import RunFailed, UfgirWarning, UserError
from ufgir.files import refusal
from ufgir.memory import enough_memory

DONE, FAILED, MISTAKE, SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130


def run_command(
    command: Callable[[Sequence[str]], int],
    arguments: Sequence[str] | None = None,
    usage: str | None = None,
    after_ctrl_c: str = "nothing half-written is left; the same command starts again",
) -> int:
    """Run a command on its arguments (default: those of this process).

    Args:
        command: takes the arguments and returns its exit code.
        arguments: what was typed after the command.
        usage: what `--help` prints; without it the command has a help of its own.
        after_ctrl_c: what is left after an interruption, and how to go on.

    Returns:
        The exit code: the command's own, 1 for a failed run, 2 for the user's mistake, 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if usage is not None and {"-h", "--help"} & set(arguments):
        print(usage.strip())
        return DONE
    warnings.simplefilter("always", UfgirWarning)
    warnings.showwarning = partial(_show_warning, warnings.showwarning)
    try:
        with told_in_a_line():
            return command(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return MISTAKE
    except RunFailed as error:
        print(f"failed: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"interrupted; {after_ctrl_c}", file=sys.stderr)
        return INTERRUPTED


@contextmanager
def told_in_a_line() -> Iterator[None]:
    """What any command may meet on a machine, wherever it comes up, without a traceback.

    Raises:
        RunFailed: memory or disk is full, or the system refuses a file.
    """
    try:
        with enough_memory():
            yield
    except (UserError, RunFailed):
        raise
    except Exception as error:
        refused = refusal(error)
        if refused is None:
            raise
        where = f"{refused.filename}: " if refused.filename else ""
        raise RunFailed(f"{where}{refused.strerror}.") from error


def _show_warning(show: Callable, message: Warning | str, category: type[Warning], *where: object) -> None:
    """Our own warnings are for the user, who does not need to know the line of code."""
    if issubclass(category, UfgirWarning):
        print(f"warning: {message}", file=sys.stderr)
    else:
        show(message, category, *where)


def count_faults(words: Mapping[str, str], word: str) -> list[str]:
    """What is wrong with a word that is a number of things, if it was given."""
    given = words.get(word, "1")
    is_count = given.isdecimal() and int(given) > 0
    return [] if is_count else [f"{word}={given}: expected a whole number of at least 1."]


def parse_words(arguments: Sequence[str], allowed: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Read arguments of the form `key=value`.

    Args:
        arguments: what was typed after the command.
        allowed: the keys that the command knows.

    Returns:
        the values by key, and a sentence for each argument that is not understood.
    """
    words, faults = {}, []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key not in allowed or not equals:
            known = listed([f"{word}=" for word in allowed], "and")
            faults.append(f"{argument} is not understood; the words are {known}.{did_you_mean(nearest(key, allowed))}")
        else:
            words[key] = value
    return words, faults
