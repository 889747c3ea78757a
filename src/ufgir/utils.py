"""What several packages need: files, paths, names, and the side of the resize."""

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import platformdirs

from ufgir.errors import UserError

PACKAGE = Path(__file__).resolve().parent


def project_dir(name: str) -> Path:
    """The folder `conf` or `sweeps`: of the checkout or, in an installed wheel, its copy inside the package."""
    checkout = PACKAGE.parents[1] / name
    return checkout if PACKAGE.parent.name == "src" and checkout.is_dir() else PACKAGE / name


def cache_dir() -> Path:
    """`$UFGIR_CACHE`, or the user's cache folder. It need not exist and may be deleted between runs."""
    chosen = os.environ.get("UFGIR_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("ufgir")


def expand_path(key: str, text: str | os.PathLike) -> Path:
    """The path of an argument, with `~` replaced by the home folder. It need not exist.

    Raises:
        UserError: the home folder is unknown, or the path cannot be looked up.
    """
    try:
        path = Path(text).expanduser()
        path.exists()
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"{key}={text}: not a usable path ({error}).") from None
    return path


@contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO]:
    """A stream to a temporary file that replaces `path` at the end; readers see the old content or the new one."""
    temporary = _temporary(path)
    try:
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` at the end, whole or not at all; one that is there by then stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    temporary.mkdir()
    try:
        yield temporary
        try:
            temporary.rename(path)
        except OSError:
            if not path.exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """Beside `path`, and of this process alone: machines that share a disk have processes of the same number."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")


def first_ten(items: Sequence[object]) -> str:
    """`a, b and 3 more`: the items, at most ten of them."""
    more = f" and {len(items) - 10} more" if len(items) > 10 else ""
    return ", ".join(map(str, items[:10])) + more


@contextmanager
def staged(folder: Path, names: Sequence[str], replace: bool = False) -> Iterator[Path]:
    """A temporary folder whose files are moved into `folder` at the end: all of them or, if something fails, none.

    Args:
        folder: of the option `out`; it need not exist.
        names: of the files, as far as they are known before they are written.
        replace: whether they replace files of an earlier time.

    Raises:
        UserError: `folder` is a file or below one, or files would be overwritten.
    """

    def refuse_taken(names: Sequence[str]) -> None:
        if not replace and (taken := [name for name in names if (folder / name).exists()]):
            raise UserError(f"out={folder}: {', '.join(taken)} exists already. Give another out=FOLDER.")

    # In the folder itself if that exists: the one around it may be read-only, or on another disk.
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise UserError(f"out={folder}: {nearest} is a file, not a folder. Give another out=FOLDER.")
    refuse_taken(names)
    with TemporaryDirectory(prefix=".export-", dir=nearest, ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)
        files = sorted(Path(temporary).iterdir())
        refuse_taken([file.name for file in files])  # others may have come since
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            file.replace(folder / file.name)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write values as JSON that people can read, too."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key for names with numbers: `leaf2` before `leaf10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", name) if part]


def resize_side(image_size: int) -> int:
    """Side in pixels to which images are resized before the crop, if none is given: the paper crops 0.875 of it."""
    return int(image_size / 0.875)


def flatten(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat
