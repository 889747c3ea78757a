"""Build the W&B dashboard of a project: accuracy against cost, by reducer, by plug-ins, and the curves of training.

    python -m ufgir.dashboard project=NAME [entity=NAME] [sweep=NAME] [out=FILE.json]

project  W&B project of the runs, as in logger.project
entity   user or team that owns it (default: WANDB_ENTITY, else your own)
sweep    show the runs of this sweep only (default: all that were tested on the test images)
out      write the document that would be sent to W&B to this file, and send nothing; this needs no login

Each call makes a new view of the project. Runs that were logged offline appear in it after `wandb sync`.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import wandb

from ufgir.cli import DONE, parse_words, run_command
from ufgir.errors import RunFailed, UserError
from ufgir.files import written_whole
from ufgir.models.weights import reason_of
from ufgir.training.loggers import has_api_key

WORDS = ("project", "entity", "sweep", "out")


def dashboard(arguments: Sequence[str]) -> int:
    """Make the workspace that the words describe, and send it or write it down.

    Raises:
        UserError: all faults of the words, or what is missing on this machine.
        RunFailed: W&B did not take it.
    """
    words, faults = parse_words(arguments, WORDS)
    if not words.get("project"):
        faults.append("project=NAME is missing; it names the W&B project of the runs.")
    if "out" in words and not (parent := Path(words["out"]).parent).is_dir():
        faults.append(f"out={words['out']}: there is no folder {parent}.")
    if "out" not in words and not has_api_key():
        faults.append("there is no login at W&B. Run `wandb login`, or write the document with out=FILE.json.")
    if not find_spec("wandb_workspaces"):
        faults.append("the package wandb-workspaces is not installed: pip install wandb-workspaces")
    if faults:
        raise UserError(*faults)
    if "out" in words:
        write(words, Path(words["out"]))
    else:
        send(words)
    return DONE


def write(words: Mapping[str, str], out: Path) -> None:
    """Leave the document in a file."""
    from ufgir.workspace import make_workspace  # needs the optional package

    workspace = make_workspace(words["project"], words.get("entity", ""), words.get("sweep"))
    with written_whole(out) as stream:
        stream.write(json.dumps(workspace._to_model().model_dump(by_alias=True, exclude_none=True), indent=2) + "\n")
    print(f"document: {out}")


def send(words: Mapping[str, str]) -> None:
    """Save the dashboard at W&B.

    Raises:
        RunFailed: it was not taken.
    """
    from ufgir.workspace import make_workspace

    try:
        entity = words.get("entity") or os.environ.get("WANDB_ENTITY") or wandb.Api().default_entity
        workspace = make_workspace(words["project"], entity, words.get("sweep")).save()
    except Exception as error:  # of a dozen kinds: no network, no such project, no right to write to it
        raise RunFailed(f"W&B did not take the dashboard ({reason_of(error)}).") from error
    print(f"dashboard: {workspace.url}")


if __name__ == "__main__":
    sys.exit(run_command(dashboard, usage=__doc__))
