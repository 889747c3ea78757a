"""How every command ends: faults as text, exit codes, and no traceback for a user's mistake."""

import sys
from collections.abc import Callable, Sequence

from ufgir.config.messages import did_you_mean, nearest
from ufgir.errors import RunFailed, UserError

DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130


def run_command(command: Callable[[list[str]], int]) -> int:
    """Run a command on this process's arguments.

    Returns:
        The exit code: the command's own, 1 for a failed run, 2 for the user's mistake, 130 after Ctrl-C.
    """
    try:
        return command(sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        return MISTAKE
    except RunFailed as error:
        print(f"failed: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last whole epoch", file=sys.stderr)
        return INTERRUPTED


def parse_words(arguments: Sequence[str], allowed: Sequence[str], usage: str) -> dict[str, str]:
    """Read arguments of the form `key=value`.

    Args:
        arguments: what was typed after the command.
        allowed: the keys that the command knows.
        usage: one line that shows how the command is typed; `--help` prints it.

    Raises:
        UserError: with all faults of the words.
        SystemExit: after `--help`.
    """
    if {"-h", "--help"} & set(arguments):
        print(usage)
        raise SystemExit(DONE)
    words, faults = {}, []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not value:
            faults.append(f"{argument}: expected KEY=VALUE. Usage: {usage}")
        elif key not in allowed:
            faults.append(f"{key} is not a word of this command.{did_you_mean(nearest(key, allowed))} Usage: {usage}")
        elif key in words:
            faults.append(f"{key} is given twice.")
        else:
            words[key] = value
    if faults:
        raise UserError(*faults)
    return words
