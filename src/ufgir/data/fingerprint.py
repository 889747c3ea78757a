"""The user's cache folder, and what names an entry in it: a list of files as they are now."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path


def cache_folder() -> Path:
    """`$UFGIR_CACHE`, else `ufgir` below `$XDG_CACHE_HOME`, else `~/.cache/ufgir`.

    It need not exist, and may be deleted at any time between runs.
    """
    if chosen := os.environ.get("UFGIR_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ufgir"


def fingerprint(paths: Iterable[Path], *extra: object) -> str:
    """32 hexadecimal digits that change with any file's place, size or time of change, the order, and `extra`.

    Raises:
        OSError: a file is missing.
    """
    digest = hashlib.sha256(repr(extra).encode())
    for path in paths:
        status = path.stat()
        digest.update(f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]
