"""Where an export goes: into a folder, all of its files or none."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ufgir.errors import UserError
from ufgir.files import saving


@dataclass(frozen=True)
class Place:
    """The folder of an export.

    Attributes:
        folder: it need not exist.
        name: of the model's file in it.
        replaces: whether files of an earlier export in it give way; those of a folder that the user named do not.
    """

    folder: Path
    name: str
    replaces: bool

    @contextmanager
    def filled(self) -> Iterator[Path]:
        """A new folder whose files go here at the end; nothing is left of it if something fails.

        Raises:
            UserError, RunFailed: it cannot be written, or would replace a file that is there.
        """
        temporary = None
        try:
            with saving("out", self.folder):
                parent = next(parent for parent in self.folder.absolute().parents if parent.is_dir())
                temporary = Path(tempfile.mkdtemp(prefix=".export-", dir=parent))
                yield temporary
                if taken := [name for name in self._names(temporary) if (self.folder / name).exists()]:
                    if not self.replaces:
                        raise UserError(f"out={self.folder} has {', '.join(taken)} already; give another out=.")
                self.folder.mkdir(parents=True, exist_ok=True)
                for name in self._names(temporary):
                    (temporary / name).replace(self.folder / name)
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)

    @staticmethod
    def _names(folder: Path) -> list[str]:
        return sorted(file.name for file in folder.iterdir())


def place_of(out: str | None, default: Path, name: str) -> Place:
    """The place that a user's `out` means: a folder, or a file that has the suffix of `name`.

    Args:
        out: what was typed; None: nothing.
        default: folder without it.
        name: of the model's file where the user gives none.
    """
    if out is None:
        return Place(default, name, replaces=True)
    path = Path(out).expanduser()
    if path.suffix == Path(name).suffix:
        return Place(path.parent, path.name, replaces=False)
    return Place(path, name, replaces=False)
