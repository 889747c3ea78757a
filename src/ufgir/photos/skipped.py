"""Images that are left out, and paths as text."""

import sys
from collections.abc import Sequence
from pathlib import Path

Skipped = tuple[Path, str]  # a file or folder, and why it cannot be read


def tell_skipped(skipped: Sequence[Skipped]) -> None:
    """A line for each on standard error."""
    for path, why in skipped:
        print(f"skipped: {written(path)} ({why})", file=sys.stderr)


def written(path: Path) -> str:
    """A path as text that every encoding of Unicode takes, whatever bytes the file system holds."""
    return str(path).encode("utf-8", "backslashreplace").decode()
