"""The progress bar of everything that goes over images."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")


def tracked(items: Iterable[Item], total: int, text: str, show: bool = True) -> Iterator[Item]:
    """Pass `items` through, with a bar labelled `text` on standard error where that is a terminal."""
    console = Console(file=sys.stderr)
    if not (show and console.is_terminal):
        yield from items  # even a disabled bar of older rich leaves an empty line
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as bar:
        yield from bar.track(items, total=total, description=text)
