"""From the words of a command line to Hydra's overrides; whatever cannot be read is explained."""

import re
from collections.abc import Iterable, Iterator
from functools import cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from ufgir.config.messages import Faults, did_you_mean
from ufgir.config.rules import choices

GROUPS = (
    "dataset", "backbone", "reducer", "plugins", "augment", "optim", "trainer", "logger", "debug", "experiment",
)  # fmt: skip
LISTS = ("keep_rate", "reduction_layers", "optim.betas", "logger.tags")  # settings that may be lists
NAME = re.compile(r"[A-Za-z_][\w./]*")  # of a setting or group


def read_arguments(arguments: Iterable[str], faults: Faults) -> list[Override]:
    """Read `KEY=VALUE` arguments as Hydra does.

    Args:
        arguments: words as the shell hands them over, without the options of the program.
        faults: gets one for each argument that cannot be read, or that names several runs.

    Returns:
        the others.
    """
    overrides = []
    for words in _joined(list(arguments)):
        given = " ".join(words)
        if len(words) > 1:
            meant = _without_dashes(f"{words[0].rstrip('=')}={words[-1].lstrip('=')}")
            faults.add(f"{given}: a setting is written without spaces. Did you mean {meant}?", key_of(meant))
        elif override := _read(given, faults):
            overrides.append(override)
    return overrides


def key_of(text: str) -> str:
    """The setting or group that an override is about."""
    return text.partition("=")[0].strip().lstrip("+~-").partition("@")[0]


def _joined(arguments: list[str]) -> Iterator[list[str]]:
    """The arguments, those together that are one setting torn apart by spaces: `keep_rate = 0.5`."""
    while arguments:
        count = _torn(arguments)
        yield arguments[:count]
        del arguments[:count]


def _torn(arguments: list[str]) -> int:
    """How many of the first arguments are one torn setting; 1 if the first is whole, or nothing follows."""
    first, second, third = (*arguments, "", "")[:3]
    if not NAME.fullmatch(first.lstrip("-").replace("-", "_").removesuffix("=")) or not second:
        return 1
    if second == "=" and third and not first.endswith("="):
        return 3
    is_value = "=" not in second.removeprefix("=") and not second.startswith(("-", "~", "+"))
    return 2 if is_value else 1


def _read(text: str, faults: Faults) -> Override | None:
    try:
        override = _parse(text)
    except HydraException:
        faults.add(_unreadable(text), key_of(text))
        return None
    if not override.key_or_group:
        faults.add(f"{text}: there is no name before the equals sign. Write KEY=VALUE, such as keep_rate=0.5.")
    elif override.is_sweep_override():
        faults.add(_several_runs(text), key_of(text))
    else:
        return override
    return None


@cache
def _parse(text: str) -> Override:
    """The thousands of runs of a sweep are told by a few words."""
    return OverridesParser.create().parse_override(text)


def _unreadable(text: str) -> str:
    """Why Hydra cannot read an argument, and how it may have been meant."""
    name, equals, value = text.partition("=")
    if text.startswith("-"):
        meant = _without_dashes(text)
        advice = f"Did you mean {meant}?" if equals else "Write KEY=VALUE, such as keep_rate=0.5."
        return f"{text}: there is no such option; a setting has no dashes. {advice}"
    if not equals:
        groups = [f"{group}={text}" for group in GROUPS if text in choices(group)]
        return f"{text}: expected KEY=VALUE, such as keep_rate=0.5.{did_you_mean(groups)}"
    if not NAME.fullmatch(name.lstrip("+~")):
        return f"{text}: {name!r} cannot name a setting. Write KEY=VALUE without spaces, such as keep_rate=0.5."
    for opening, closing in ("[]", "{}", "()"):
        if value.count(opening) != value.count(closing):
            return f"{text}: the brackets {opening}{closing} do not match. Close each bracket that is opened."
    quoted = f'{name}="{value}"'
    if '"' not in value and _reads(quoted):
        return f"{text}: the value has characters with a meaning of their own. Quote it twice: '{quoted}'"
    return f"{text}: the value cannot be read; check its quotes and brackets."


def _several_runs(text: str) -> str:
    """A sweep outside of a multirun, or a list without its brackets."""
    name, _, value = text.partition("=")
    ways = ["To start one run for each, add --multirun."]
    if re.fullmatch(r"0,\d+", value):
        ways.append(f"For a decimal: {name}={value.replace(',', '.')}.")
    elif key_of(text) in LISTS and "(" not in value:
        ways.append(f"For one run with a list: {name}=[{value}].")
    elif "/" in value:
        ways.append(f"For a path with a comma: '{name}=\"{value}\"'.")
    return f"{text}: this names several values. {' '.join(ways)}"


def _without_dashes(text: str) -> str:
    name, equals, value = text.lstrip("-").partition("=")
    return f"{name.replace('-', '_')}{equals}{value}"


def _reads(text: str) -> bool:
    try:
        _parse(text)
    except HydraException:
        return False
    return True
