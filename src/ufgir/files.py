"""Files that are written whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ufgir.errors import RunFailed


@contextmanager
def written_whole(path: Path, mode: str = "w") -> Iterator[IO]:
    """A stream to a file beside `path`, renamed to it at the end: a reader sees the old file or the new one.

    Args:
        path: the file to write; its folder exists.
        mode: `w` for text, `wb` for bytes.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def place_faults(word: str, path: Path) -> list[str]:
    """Why a file cannot be written at `path`, found out before hours of work are spent on its content.

    Args:
        word: the user's word for it, for the message.
        path: of the file; nothing is left there.
    """
    if path.is_dir():
        return [f"{word}={path} is a folder; give the file to write."]
    if not path.parent.is_dir():
        return [f"{word}={path}: there is no folder {path.parent}"]
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            return []
    except OSError as error:
        return [f"{word}={path} cannot be written ({error.strerror}); give {word}= in a folder that you may write to."]


@contextmanager
def saving(word: str, path: Path) -> Iterator[None]:
    """Tells in one line what keeps a result from being saved.

    Raises:
        RunFailed: the system refuses to write: a full disk, a lost permission.
    """
    try:
        yield
    except OSError as error:
        raise RunFailed(f"{word}={path} could not be written: {error.strerror or error}.") from error
