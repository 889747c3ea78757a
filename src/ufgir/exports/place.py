"""Where an export goes: into a folder, all of its files or none."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ufgir.errors import UserError
from ufgir.files import folder_faults, saving


@dataclass(frozen=True)
class Place:
    """The folder of an export.

    Attributes:
        folder: it need not exist, nor those above it.
        names: of the files that go there, as far as they are known before the work.
        replaces: whether files of an earlier export in it give way; those of a folder that the user named do not.
    """

    folder: Path
    names: Sequence[str]
    replaces: bool

    def faults(self) -> list[str]:
        """Why nothing can be written there, found out before a model is read, built and written."""
        return folder_faults("out", self.folder, deep=True) or self._taken(self.names)

    @contextmanager
    def filled(self) -> Iterator[Path]:
        """A new folder whose files go here at the end; nothing is left of it if something fails.

        Raises:
            UserError, RunFailed: it cannot be written, or would replace a file that is there.
        """
        temporary = None
        try:
            with saving("out", self.folder):
                # In the folder itself if that exists: the one around it may be closed, or on another disk.
                above = self.folder.absolute()
                there = next(folder for folder in (above, *above.parents) if folder.is_dir())
                temporary = Path(tempfile.mkdtemp(prefix=".export-", dir=there))
                yield temporary
                names = sorted(file.name for file in temporary.iterdir())
                if taken := self._taken(names):  # since the work began
                    raise UserError(*taken)
                self.folder.mkdir(parents=True, exist_ok=True)
                for name in names:
                    (temporary / name).replace(self.folder / name)
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)

    def _taken(self, names: Sequence[str]) -> list[str]:
        taken = [] if self.replaces else [name for name in names if (self.folder / name).exists()]
        return [f"out={self.folder} has {', '.join(taken)} already; give another out=."] if taken else []
