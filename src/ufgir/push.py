"""Upload a trained model to a repository of the Hugging Face Hub, from where hf-hub:USER/NAME loads it.

    python -m ufgir.push run=DIR repo=USER/NAME [private=true] [license=ID] [dry_run=true] [out=FOLDER]
    python -m ufgir.push checkpoint=FILE repo=USER/NAME ...

run         the folder of a finished run
checkpoint  its model.pt
repo        the repository; it is created unless it exists
private     true: a new repository is visible to you only (default: false)
license     of the weights, by the Hub's name, such as mit or cc-by-4.0 (default: unknown); those of the pretrained
            weights and of the images may apply
dry_run     true: write the files to a folder and upload nothing; this needs no login and no network
out         that folder, whose files are not overwritten (default: push beside the weights, where those of an earlier
            time are replaced); it implies dry_run=true

The files are README.md (the model card, with results and training command), config.json and model.pt, without paths,
user names and logger settings of this machine. They are uploaded in one commit.
"""

import re
import sys
import tempfile
from pathlib import Path

from pydantic import field_validator

from ufgir.cli import DONE, TrainedOptions, parse_options, run_command
from ufgir.utils import expand_path, staged

FILES = ("README.md", "config.json", "model.pt")


class Options(TrainedOptions):
    repo: str
    private: bool = False
    license: str = "unknown"
    dry_run: bool = False
    out: str | None = None

    @field_validator("repo")
    @classmethod
    def is_repository(cls, repo: str) -> str:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
            raise ValueError("expected USER/NAME, a repository of the Hugging Face Hub")
        return repo


def main(arguments: list[str]) -> int:
    """Write the files of the repository, and upload them unless this is a dry run."""
    options = parse_options(Options, arguments)
    from ufgir.export.hub import check_login, upload, write_repository

    if options.out is None and not options.dry_run:
        check_login()
        trained = options.load()
        with tempfile.TemporaryDirectory() as folder:
            write_repository(trained, options.repo, options.license, Path(folder))
            address = upload(Path(folder), options.repo, options.private)
        print(f"load it with checkpoint=hf-hub:{options.repo}")
        print(f"repository: {address}", flush=True)
        return DONE
    trained = options.load() if options.out is None else None
    path = trained.place / "push" if trained else expand_path("out", options.out)
    with staged(path, FILES, replace=options.out is None) as folder:
        write_repository(trained or options.load(), options.repo, options.license, folder)
    print(f"files: {path} (nothing was uploaded)", flush=True)
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
