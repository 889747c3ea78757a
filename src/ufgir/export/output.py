"""The folder that a command writes into: all of its files or none."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ufgir.errors import UserError


@dataclass(frozen=True)
class OutputFolder:
    """A folder for new files.

    Attributes:
        path: it need not exist.
        names: of the files, as far as they are known before they are written.
        overwrite: whether they replace files of an earlier time.
    """

    path: Path
    names: Sequence[str]
    overwrite: bool = False

    def check(self) -> None:
        """See that nothing is in the way, before anything is computed.

        Raises:
            UserError: the path is a file or below one, or would overwrite files.
        """
        if not self._nearest().is_dir():
            raise UserError(f"out={self.path}: {self._nearest()} is a file, not a folder. Give another out=FOLDER.")
        self._check_names(self.names)

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """A temporary folder whose files are moved here at the end. If something fails, nothing is left.

        Raises:
            UserError: it would overwrite files.
        """
        # In the folder itself if that exists: the one around it may be read-only, or on another disk.
        temporary = Path(tempfile.mkdtemp(prefix=".export-", dir=self._nearest()))
        try:
            yield temporary
            names = sorted(file.name for file in temporary.iterdir())
            self._check_names(names)  # others may have come since
            self.path.mkdir(parents=True, exist_ok=True)
            for name in names:
                (temporary / name).replace(self.path / name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _nearest(self) -> Path:
        """The folder, or the nearest one above it that exists."""
        path = self.path.absolute()
        return next(parent for parent in (path, *path.parents) if parent.exists())

    def _check_names(self, names: Sequence[str]) -> None:
        if not self.overwrite and (taken := [name for name in names if (self.path / name).exists()]):
            raise UserError(f"out={self.path}: {', '.join(taken)} exists already. Give another out=FOLDER.")


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write values as JSON that people can read, too."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
