"""Token reducers: one file each, pure tensor algorithms that know nothing of a model.

A file is all that it takes: `reducers/<name>.py` with one subclass of `Reducer`, and `conf/reducer/<name>.yaml` beside
it for the command line. Both may also lie in a folder of `UFGIR_PATH`, outside of this package.
"""

import importlib
import pkgutil
import sys
from functools import cache
from pathlib import Path

from ufgir.errors import UserError
from ufgir.reducers.base import BlockAttention, Reducer, relative_budget
from ufgir.resources import user_folders

__path__ += [str(folder / "reducers") for folder in user_folders()]


@cache
def reducer_names() -> tuple[str, ...]:
    """All reducers: the names of the files. `none` is not among them: it reduces nothing and has no code."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base"))


@cache
def find_reducer(name: str) -> type[Reducer]:
    """The class in `reducers/<name>.py`.

    Raises:
        ValueError: there is no such file.
        UserError: the file cannot be imported, or has not exactly one reducer.
    """
    if name not in reducer_names():
        raise ValueError(f"reducer={name!r} is not one of none, {', '.join(reducer_names())}.")
    try:
        module = importlib.import_module(f"{__name__}.{name}")
    except Exception as error:  # a file of the user's own may fail in any way
        raise UserError(f"reducer={name}: its file cannot be imported ({type(error).__name__}: {error}).") from error
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Reducer) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(kind.__name__ for kind in found) or "none"
        raise UserError(f"reducer={name}: {module.__file__} must have exactly one subclass of Reducer; found {names}.")
    return found[0]


def users_file(name: str) -> Path | None:
    """The file of a reducer from a folder of `UFGIR_PATH`; None for those of this package."""
    if name == "none":
        return None
    file = Path(sys.modules[find_reducer(name).__module__].__file__)
    return None if file.parent == Path(__file__).parent else file


__all__ = ["BlockAttention", "Reducer", "find_reducer", "reducer_names", "relative_budget", "users_file"]
