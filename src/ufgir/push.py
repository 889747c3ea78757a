"""Put a trained model into a repository of the Hugging Face Hub, from where hf-hub:USER/NAME brings it back.

    python -m ufgir.push run=DIR repo=USER/NAME [private=true] [license=ID] [dry_run=true] [out=FOLDER]
    python -m ufgir.push checkpoint=FILE repo=USER/NAME ...

run         the folder of a finished run
checkpoint  a model.pt of one
repo        the repository, which is made unless it is there
private     true: only you see it (default: false); it changes nothing about a repository that is there
license     of the weights, by the Hub's word for it, such as mit or cc-by-4.0 (default: unknown); that of pretrained
            weights, and of the images, may bind you
dry_run     true: write the files to a folder and upload nothing; this needs no login
out         that folder; files that are there already are not overwritten (default: push beside the weights, where
            those of an earlier time are); it implies dry_run=true

The files are README.md (the model card, with the run's numbers and the command that makes them again), config.json and
model.pt; paths, user names and logger settings of this machine are left out. They are uploaded in one commit.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ufgir.cli import DONE, parse_words, run_command
from ufgir.errors import UserError
from ufgir.exports.place import Place
from ufgir.files import typed_path
from ufgir.runs.trained import TRAINED_WORDS, choice_faults, find_trained
from ufgir.sharing.contents import FILES, shared, write_contents
from ufgir.sharing.upload import check_login, login_faults, upload

SWITCHES = ("private", "dry_run")
WORDS = (*TRAINED_WORDS, "repo", "license", "out", *SWITCHES)


def push(arguments: Sequence[str]) -> int:
    """Write the files of the repository, and upload them unless that is not wanted."""
    words, faults = parse_words(arguments, WORDS)
    faults += choice_faults(words) + _repo_faults(words.get("repo", ""))
    for word in SWITCHES:
        if words.get(word, "false") not in ("true", "false"):
            faults.append(f"{word}={words[word]}: expected true or false.")
    is_dry = "out" in words or words.get("dry_run") == "true"
    place, misplaced = _typed_place(words["out"]) if "out" in words else (None, [])
    faults += misplaced if is_dry else login_faults()
    if faults:
        raise UserError(*faults)
    return _write(words, place) if is_dry else _upload(words)


def _typed_place(out: str) -> tuple[Place | None, list[str]]:
    folder, faults = typed_path("out", out)
    if faults:
        return None, faults
    place = Place(folder, FILES, replaces=False)
    return place, place.faults()


def _write(words: Mapping[str, str], place: Place | None) -> int:
    """Write the files to a place, or else beside the weights."""
    trained = find_trained(words)
    if place is None:
        place = Place(trained.results_folder / "push", FILES, replaces=True)
        if faults := place.faults():
            raise UserError(*faults)
    with place.filled() as folder:
        write_contents(shared(trained), words["repo"], words.get("license", "unknown"), folder)
    print(f"files: {place.folder} (nothing was uploaded)", flush=True)
    return DONE


def _upload(words: Mapping[str, str]) -> int:
    model, user = shared(find_trained(words)), check_login()
    with tempfile.TemporaryDirectory() as folder:
        write_contents(model, words["repo"], words.get("license", "unknown"), Path(folder))
        print(f"uploading as {user} to {words['repo']}", flush=True)
        address = upload(Path(folder), words["repo"], words.get("private") == "true")
    print(f"load it with checkpoint=hf-hub:{words['repo']}")
    print(f"repository: {address}", flush=True)
    return DONE


def _repo_faults(repo: str) -> list[str]:
    try:
        validate_repo_id(repo)
        is_sound = "/" in repo
    except HFValidationError:
        is_sound = False
    return [] if is_sound else [f"repo={repo}: expected USER/NAME, a repository of the Hugging Face Hub."]


if __name__ == "__main__":
    sys.exit(run_command(push, usage=__doc__))
