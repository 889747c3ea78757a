"""Parts of a run that are named by `_target_`: checked before anything starts, built by Hydra, identified by source."""

import hashlib
import importlib.util
import inspect
import pkgutil
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import hydra.utils

from ufgir.errors import RunFailed, UserError, did_you_mean, summarize

HYDRA_KEYS = {"_target_", "_partial_", "_args_", "_convert_", "_recursive_"}
# What is not the user's own: changes of these packages are recorded as versions.
INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")})


def build(part: Mapping[str, Any], *args: Any, **extra: Any) -> Any:
    """The object of a part; parts inside of it are built by Hydra.

    Args:
        part: `_target_` and its arguments.
        args: positional arguments of the run, before those of the part. With them `_partial_` is not needed.
        extra: arguments of the run; those that the part sets itself, or that its target does not take, are left out.
    """
    known = _parameters(part["_target_"])
    own = {name: value for name, value in part.items() if name not in HYDRA_KEYS}
    own = dict(hydra.utils.instantiate(own, _convert_="all"))
    extra = {name: value for name, value in extra.items() if name not in own and (known is None or name in known)}
    return pkgutil.resolve_name(part["_target_"])(*args, *part.get("_args_", ()), **extra, **own)


@contextmanager
def refused(key: str) -> Iterator[None]:
    """What a part raises while it is built, as a mistake in its arguments.

    Raises:
        UserError: naming the key.
    """
    try:
        yield
    except (UserError, RunFailed):
        raise
    except Exception as error:
        raise UserError(
            f"{key}: cannot be built ({summarize(error.__cause__ or error)}). Check its arguments."
        ) from error


def check(
    key: str, part: Mapping[str, Any], trial: Callable[[str, Mapping], Iterator[str]] | None = None
) -> Iterator[str]:
    """Errors of a part: its target cannot be imported, or does not take an argument.

    Args:
        key: where it stands in the configuration.
        part: `_target_` and its arguments.
        trial: makes an object of it, and yields errors of values and of arguments that the target passes on.
    """
    target = part.get("_target_")
    if not isinstance(target, str):
        yield f"{key}: expected a mapping with _target_, the name of a class or function, such as torch.optim.SGD."
        return
    try:
        pkgutil.resolve_name(target)
    except Exception as error:
        reason = summarize(error.__cause__ or error)
        yield f"{key}._target_={target}: cannot be imported ({reason}). Check the name and PYTHONPATH."
        return
    known = _parameters(target)
    arguments = [name for name in part if name not in HYDRA_KEYS]
    unknown = [name for name in arguments if known is not None and name not in known]
    for name in unknown:
        yield f"{key}.{name}={part[name]}: {target} has no argument {name}.{did_you_mean(name, known)}"
    if trial is not None and not unknown:
        yield from trial(key, part)


def try_optimizer(key: str, part: Mapping[str, Any]) -> Iterator[str]:
    """The values of which no optimizer can be made. timm passes most arguments on unchecked."""
    part = _without_null(part)
    reason = _refusal(part)
    if reason is None:
        return
    without = {name: {other: part[other] for other in part if other != name} for name in part if name not in HYDRA_KEYS}
    # Without `opt` timm makes another optimizer, which proves nothing.
    culprits = [name for name in without if name != "opt" and _refusal(without[name]) is None]
    where = f"{key}.{culprits[0]}={part[culprits[0]]}" if culprits else key
    yield f"{where}: {part['_target_']} does not take it ({reason})."


def try_schedule(key: str, part: Mapping[str, Any], optim: Mapping[str, Any]) -> Iterator[str]:
    """What a scheduler does not take. Those of torch look at some of their arguments only when they step."""
    import torch
    from torch.optim import lr_scheduler

    try:
        optimizer = build(_without_null(optim), [torch.nn.Parameter(torch.zeros(1))])
    except Exception:  # an error of the optimizer, which is reported by itself
        return
    try:
        scheduler = build(part, optimizer, **({} if "epochs" in part else {"total_steps": 10}))
        steps_alone = isinstance(scheduler, lr_scheduler.LRScheduler)
        if steps_alone and not isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            with warnings.catch_warnings(action="ignore"):  # no step of the optimizer came before
                scheduler.step()
    except Exception as error:
        yield f"{key}: {part['_target_']} does not take its arguments ({summarize(error.__cause__ or error)})."


def _without_null(optim: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are given. `fused` depends on the device, which a dummy parameter is not on."""
    return {name: value for name, value in optim.items() if value is not None and name != "fused"}


def _refusal(part: Mapping[str, Any]) -> str | None:
    import torch

    try:
        build(part, [torch.nn.Parameter(torch.zeros(1))])
    except Exception as error:
        return summarize(error)
    return None


@cache
def _parameters(target: str) -> tuple[str, ...] | None:
    """Names of the arguments that a target takes; None if it takes any."""
    try:
        parameters = inspect.signature(pkgutil.resolve_name(target)).parameters.values()
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
    while module:
        module = module.rpartition(".")[0]
        try:
            spec = importlib.util.find_spec(module) if module else None
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
