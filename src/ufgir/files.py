"""Files that are written whole or not at all, and what to say where they cannot be written."""

import errno
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ufgir.amounts import as_text
from ufgir.errors import RunFailed, UserError, behind

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of a disk, of a user's share of it, of what a file may hold
REFUSALS = (*FULL, errno.EACCES, errno.EPERM, errno.EROFS)  # not a bug, whatever was to be done
FOR_THE_USER = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOENT,
                errno.ENAMETOOLONG)  # who named a place that is not one to write to  # fmt: skip

MOST = 300  # letters of what a library says, which may name every file of a folder


@contextmanager
def written_whole(path: Path, mode: str = "w", needed: int | None = None) -> Iterator[IO]:
    """A stream to a file beside `path`, renamed to it at the end: a reader sees the old file or the new one.

    Args:
        path: the file to write; its folder exists.
        mode: `w` for text, `wb` for bytes.
        needed: bytes that will be written, about, where that is known; for the message.

    Raises:
        OSError: the disk is full; `strerror` says what was needed and what is free.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except Exception as error:
        if full := refusal(error, FULL):
            raise _with_figures(full, path, temporary, needed) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def append_whole(path: Path, text: str) -> None:
    """Put text at the end of a file, all of it or nothing.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("ab", buffering=0) as stream:
        end, rest = stream.tell(), memoryview(text.encode())
        try:
            while rest:
                rest = rest[stream.write(rest) :]
        except OSError as error:
            stream.truncate(end)
            raise OSError(error.errno, error.strerror, str(path)) from error


def refusal(error: BaseException, kinds: Collection[int] = REFUSALS) -> OSError | None:
    """What the system refused behind an error: torch raises one of its own where a file fails it.

    Args:
        error: what was raised.
        kinds: numbers of the refusals that are meant.
    """
    return next((cause for cause in behind(error) if isinstance(cause, OSError) and cause.errno in kinds), None)


def _with_figures(error: OSError, path: Path, temporary: Path, needed: int | None) -> OSError:
    """The error with how much was needed and is free. What was written until then is given back first."""
    written = temporary.stat().st_size if temporary.exists() else 0
    temporary.unlink(missing_ok=True)
    need = as_text(needed) if needed else f"more than {as_text(written)}"
    figures = [f"{need} needed"] if needed or written else []
    if error.errno == errno.ENOSPC:
        figures.append(f"{as_text(shutil.disk_usage(path.parent).free)} free")
    return OSError(error.errno, f"{error.strerror} ({', '.join(figures)})" if figures else error.strerror, str(path))


def typed_path(word: str, text: str) -> tuple[Path, list[str]]:
    """The path that a user typed, `~` and `~USER` replaced by home folders. Whether anything is there is not asked.

    Args:
        word: the user's word for it, for the message.
        text: what was typed.

    Returns:
        the path, and why the system cannot even look for it; then it is good for nothing.
    """
    try:
        path = Path(text).expanduser()
        path.stat()
    except RuntimeError:
        home = Path(text).parts[0]
        return Path(text), [f"{word}={text}: {home} is nobody's home folder here; a file of this name is ./{text}"]
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # a word too long for a name, a folder that may not be looked into, links in a circle
        return path, [f"{word}={text} cannot be used: {error.strerror}; give another path."]
    return path, []


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
    return _refusal(word, path, path.parent)


def folder_faults(word: str, folder: Path, *, deep: bool = False) -> list[str]:
    """Why files cannot be written into a folder, found out as early; the folder itself need not exist.

    Args:
        word: the user's word for it, for the message.
        folder: nothing is left there.
        deep: the folders above it need not exist either.
    """
    there = next(above for above in (folder, *folder.parents) if os.path.exists(above))
    if not there.is_dir():
        return [f"{word}={folder}: {there} is a file, not a folder; give another place."]
    if not deep and there not in (folder, folder.parent):
        return [f"{word}={folder}: there is no folder {folder.parent}"]
    return _refusal(word, folder, there)


def _refusal(word: str, place: Path, folder: Path) -> list[str]:
    """What the system says when a file is made in a folder that exists."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return []
    except OSError as error:
        if error.errno in FULL:  # which a file of no size does not prove to be
            return []
        return [f"{word}={place} cannot be written ({error.strerror}); give {word}= in a folder that you may write to."]


@contextmanager
def saving(word: str, path: Path, advice: str = "") -> Iterator[None]:
    """Tells in one line what keeps a result from being saved.

    Args:
        word: the user's word for the place, for the message.
        path: the place.
        advice: a sentence for whoever may not write there.

    Raises:
        UserError: the place is not one to write to: a folder in the place of a file, a lost permission.
        RunFailed: anything else that the system says: a full disk, a broken one.
    """
    try:
        yield
    except (UserError, RunFailed):
        raise
    except Exception as error:
        refused = error if isinstance(error, OSError) else refusal(error, FULL)
        if refused is None:
            raise
        told = f"{word}={path} cannot be written: {refused.strerror or str(refused)[:MOST]}."
        raise (UserError(f"{told} {advice}".strip()) if refused.errno in FOR_THE_USER else RunFailed(told)) from error
