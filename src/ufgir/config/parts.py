"""Parts of a run that are named by `_target_`: checked before anything starts, built by Hydra, identified by source."""

import hashlib
import importlib.util
import inspect
import pkgutil
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from ufgir.errors import RunFailed, UserError, did_you_mean, show, summarize

HYDRA_KEYS = {"_target_", "_partial_", "_args_", "_convert_", "_recursive_"}
# What is not the user's own: changes of these packages are recorded as versions.
INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")})


def build(key: str, part: Mapping[str, Any], *args: Any, **extra: Any) -> Any:
    """The object of a part; parts inside of it are built by Hydra.

    Args:
        key: where it stands in the configuration.
        part: `_target_` and its arguments.
        args: positional arguments of the run, before those of the part. With them `_partial_` is not needed.
        extra: arguments of the run; those that the part sets itself, or that its target does not take, are left out.

    Raises:
        UserError: the target does not take its arguments.
    """
    try:
        make = instantiate({"_convert_": "all", **part, "_partial_": True})
        known = _parameters(part["_target_"])
        extra = {n: value for n, value in extra.items() if n not in make.keywords and (known is None or n in known)}
        return make.func(*args, *make.args, **extra, **make.keywords)
    except (UserError, RunFailed):
        raise
    except Exception as error:
        given = " ".join(f"{key}.{name}={show(value)}" for name, value in part.items() if name not in HYDRA_KEYS)
        reason = summarize(error.__cause__ or error)
        raise UserError(f"{given or key}: {part.get('_target_')} does not take this ({reason}).") from error


def check(key: str, part: Mapping[str, Any]) -> Iterator[str]:
    """Errors of a part: its target cannot be imported, or has no argument of a name that is given."""
    target = part.get("_target_")
    if not isinstance(target, str):
        yield f"{key}: expected a mapping with _target_, the name of a class or function, such as torch.optim.SGD."
        return
    try:
        known = _parameters(target)
    except Exception as error:
        reason = summarize(error.__cause__ or error)
        yield f"{key}._target_={target}: cannot be imported ({reason}). Check the name and PYTHONPATH."
        return
    for name in part if known is not None else ():
        if name not in HYDRA_KEYS and name not in known:
            yield f"{key}.{name}={show(part[name])}: {target} has no argument {name}.{did_you_mean(name, known)}"


@cache
def _parameters(target: str) -> tuple[str, ...] | None:
    """Names of the arguments that a target takes; None if it takes any."""
    found = pkgutil.resolve_name(target)
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # built in: no signature
        return None
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return tuple(parameter.name for parameter in parameters)


def targets(node: Any) -> Iterator[str]:
    """All `_target_` names in nested mappings and lists."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


@cache
def source_digest(target: str) -> str | None:
    """SHA-256 of the file that defines a user's own class or function; None for installed packages and ours."""
    module = target
    while module := module.rpartition(".")[0]:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            continue
        if spec is not None and spec.origin and Path(spec.origin).is_file():
            is_ours = module.partition(".")[0] == "ufgir"
            return None if is_ours or spec.origin.startswith(INSTALLED) else file_digest(spec.origin)
    return None


@cache
def file_digest(path: str) -> str:
    """SHA-256 of a file; a grid asks for the same file thousands of times."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
