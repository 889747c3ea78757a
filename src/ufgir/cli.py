"""What all commands share: options, exit codes, and errors without a traceback."""

import os
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ufgir.errors import RunFailed, UserError, did_you_mean, known_cause, plain_warnings, validation_messages

if typing.TYPE_CHECKING:
    from ufgir.training.trained import Trained

DONE, FAILED, USER_ERROR, SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130
COMMANDS = {
    "train": "train, test and measure a run, or many with --multirun",
    "evaluate": "test a trained model again, on other data or at other keep rates",
    "predict": "classify images",
    "visualize": "draw what becomes of the patches of an image",
    "compare": "tokens, parameters and GMACs of models before they are trained",
    "benchmark": "speed of models on this machine",
    "report": "tables, figures and a page of finished runs",
    "sweep": "plan a grid of runs, or see how far it is",
    "prepare": "make data sets ready, or download pretrained weights",
    "export": "write a trained model as ONNX, torch.export or timm files",
    "authors": "read checkpoints of the paper's authors",
    "push": "upload a trained model to the Hugging Face Hub",
    "dashboard": "make a W&B workspace for a project",
}
Options = TypeVar("Options", bound=BaseModel)


def run_command(
    main: Callable[[list[str]], int | None], arguments: Sequence[str] | None = None, usage: str | None = None
) -> int:
    """Run a command.

    Args:
        main: takes the arguments and returns the exit code, None for success.
        arguments: of the command; those of this process by default.
        usage: printed for `--help`; without it the command has a help of its own.

    Returns:
        The exit code: 0 done, 1 failed, 2 the user's mistake, 3 done but some inputs were skipped, 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if usage is not None and {"-h", "--help"} & set(arguments):
        print(usage.strip())
        return DONE
    try:
        with plain_warnings():
            return main(arguments) or DONE
    except UserError as error:
        print(error, file=sys.stderr)
        return USER_ERROR
    except RunFailed as error:
        print(f"failed: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted; the same command starts again, a run continues from its last whole epoch", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (RuntimeError, MemoryError, OSError) as error:
        if (reason := known_cause(error)) is None:
            raise
        print(f"failed: {reason}", file=sys.stderr)
        return FAILED


class TrainedOptions(BaseModel):
    """Options of a command that works on a trained model."""

    run: str | None = None
    checkpoint: str | None = None

    def load(self) -> "Trained":
        """See `ufgir.load`.

        Raises:
            UserError: both or none are given, or the weights cannot be read.
        """
        from ufgir.training.trained import load

        if (self.run is None) == (self.checkpoint is None):
            raise UserError(
                "give either run=DIR, the folder of a finished run, or checkpoint=FILE, a model.pt (or "
                "checkpoint=hf-hub:USER/NAME, a repository that holds one)."
            )
        return load(self.checkpoint, "checkpoint") if self.run is None else load(self.run, "run")


def print_skipped(unreadable: list[tuple[Path, str]]) -> None:
    """A line on standard error for each image or folder that is left out, with the reason."""
    from ufgir.training.predictions import printable

    for path, reason in unreadable:
        print(f"skipped: {printable(path)} ({reason})", file=sys.stderr)


def parse_options(options: type[Options], arguments: Sequence[str]) -> Options:
    """Read `key=value` arguments into a pydantic model. A key of a list may be given several times, one with a dot is
    the alias of its field.

    Raises:
        UserError: an unknown key, or a value that its field does not allow; all of them together.
    """
    fields = {field.alias or name: field for name, field in options.model_fields.items()}
    values: dict[str, Any] = {}
    errors = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in fields:
            known = ", ".join(f"{name}=" for name in fields)
            errors.append(f"{argument}: expected one of {known}.{did_you_mean(key, fields)}")
        elif _is_list(fields[key].annotation):
            values.setdefault(key, []).append(value)
        else:
            values[key] = None if value == "null" else value
    try:
        parsed = options.model_validate(values)
    except ValidationError as error:
        errors += validation_messages(error, options)
    if errors:
        raise UserError(*errors)
    return parsed


def _is_list(annotation: Any) -> bool:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_is_list(part) for part in typing.get_args(annotation))
    return typing.get_origin(annotation) is list


def main(arguments: Sequence[str] | None = None) -> int:
    """`ufgir COMMAND ...`, the same as `python -m ufgir.COMMAND ...`. Without a command it lists them."""
    import runpy

    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["-sc"] or (arguments and arguments[0].startswith("--shell-completion")):
        return complete(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: ufgir COMMAND ...  (or python -m ufgir.COMMAND ...)\n")
        print("\n".join(f"  {name:10} {text}" for name, text in COMMANDS.items()))
        print('\n`ufgir COMMAND --help` tells more; tab completion: eval "$(ufgir -sc install=bash)"')
        return DONE
    command, *rest = arguments
    if command not in COMMANDS:
        print(f"{command}: expected {', '.join(COMMANDS)}.{did_you_mean(command, COMMANDS)}", file=sys.stderr)
        return USER_ERROR
    sys.argv = [command, *rest]
    runpy.run_module(f"ufgir.{command}", run_name="__main__", alter_sys=True)
    return DONE


def complete(arguments: Sequence[str]) -> int:
    """Tab completion in bash, zsh and fish: names of commands here, the words of `train` by Hydra."""
    import runpy

    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    if "query" in " ".join(arguments) and not (len(words) > 2 or (len(words) == 2 and line.endswith(" "))):
        start = words[1] if len(words) > 1 else ""
        print("\n".join(name for name in COMMANDS if name.startswith(start)))
        return DONE
    if words[1:2] == ["train"]:  # Hydra completes the words of a program without sub-commands
        removed = line.index("train", len(words[0])) + len("train")
        os.environ["COMP_LINE"] = f"{words[0]}{line[removed:]}"
        point = int(os.environ.get("COMP_POINT", len(line)))
        os.environ["COMP_POINT"] = str(point - (removed - len(words[0])))
    sys.argv = ["ufgir", *arguments]
    runpy.run_module("ufgir.train", run_name="__main__", alter_sys=True)
    return DONE
