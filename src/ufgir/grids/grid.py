"""A grid of runs: a union of products, narrowed and extended by the words of the command line."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from ufgir.config import did_you_mean, jobs_of, nearest
from ufgir.config.messages import listed, typed
from ufgir.errors import UserError
from ufgir.resources import sweep_dirs

TOME_QUARTER = "[2,3,5,6,8,9]"  # layers at which ToMe with keep rate 0.5 is the paper's 0.25
CELL = ("dataset", "backbone", "reducer", "keep_rate", "image_size", "plugins")


@dataclass(frozen=True)
class Grid:
    """What a file of the group `sweep` says.

    Attributes:
        name: of the file.
        words: of every run.
        union: products, each the values of its axes: name of a setting or group -> values as they would be typed.
        published_lr: take the learning rates of the authors' run table.
    """

    name: str
    words: tuple[str, ...]
    union: tuple[dict[str, tuple[str, ...]], ...] = field(repr=False)
    published_lr: bool = False

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Every axis with all its values, in the order of the file."""
        axes: dict[str, dict[str, None]] = {}
        for values in self.union:
            for axis in values:
                axes.setdefault(axis, {}).update(dict.fromkeys(values[axis]))
        return {axis: tuple(values) for axis, values in axes.items()}


def grid_names() -> tuple[str, ...]:
    """All grids: the files of the group `sweep`, the user's own among them."""
    return tuple(sorted({file.stem for folder in sweep_dirs() for file in (folder / "sweep").glob("*.yaml")}))


def load_grid(name: str) -> Grid:
    """The grid of `sweep/<name>.yaml`.

    Raises:
        UserError: there is no such grid, or its file is not one.
    """
    files = [folder / "sweep" / f"{name}.yaml" for folder in sweep_dirs()]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        advice = did_you_mean([f"sweep={guess}" for guess in nearest(name, grid_names())])
        raise UserError(f"sweep={name}: expected {listed(grid_names())}.{advice}")
    return grid_of(OmegaConf.to_container(OmegaConf.load(file)), file)


def grid_of(content: Mapping[str, Any], file: Path | str) -> Grid:
    """The grid of a file's content.

    Raises:
        UserError: it is not one.
    """
    union = content.get("union")
    known = {"name", "words", "union", "published_lr"}
    if not isinstance(union, list) or not union or not all(isinstance(axes, dict) and axes for axes in union):
        raise UserError(f"{file}: expected union, a list of products such as {{reducer: evit, keep_rate: [0.1, 0.5]}}.")
    if empty := sorted({axis for axes in union for axis, values in axes.items() if values == []}):
        raise UserError(f"{file}: {listed(empty, 'and')} without a value; list at least one, or leave the axis out.")
    if unknown := sorted(set(content) - known):
        raise UserError(f"{file}: unknown {listed(unknown, 'and')}; a grid has {listed(sorted(known), 'and')}.")
    products = tuple(
        {axis: tuple(_typed(item) for item in (values if isinstance(values, list) else [values]))
         for axis, values in axes.items()}
        for axes in union
    )  # fmt: skip
    return Grid(str(content.get("name", Path(file).stem)), tuple(content.get("words", ())), products,
                bool(content.get("published_lr", False)))  # fmt: skip


def jobs_told(words: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The words of each run of a multirun: of a grid where `sweep=NAME` is among the words, else every combination.

    Words for Hydra itself, such as `hydra/launcher=joblib`, belong to no run.

    Raises:
        UserError: there is no such grid, or a word does not fit it.
    """
    names = [word.partition("=")[2] for word in words if word.startswith("sweep=")]
    others = [word for word in words if not word.startswith(("sweep=", "hydra.", "hydra/"))]
    if not names:
        if jobs := tuple(dict.fromkeys(jobs_of(others))):
            return jobs
        raise UserError(f"{' '.join(others)}: these words name no run. Give each setting at least one value.")
    if len(names) > 1 or "," in names[0]:
        raise UserError(f"sweep={','.join(names)}: expected one grid; there are {listed(grid_names(), 'and')}.")
    return tuple(expand(load_grid(names[0]), others))


def expand(grid: Grid, words: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """The words of each run of a grid, each run once.

    Args:
        grid: what to run.
        words: of the command line. One that names an axis narrows the grid to its values, which are those of `label`;
            any other one is added to every run, several values multiply the runs.

    Raises:
        UserError: a word names a value that the grid does not have, or cannot be read, or no run fits all words.
    """
    narrowing, further = _sorted_words(grid, words)
    rates = narrowing.pop("keep_rate", None)
    jobs = [job for job in _products(grid, narrowing, further) if rates is None or _rate(job) in rates]
    if not jobs:
        raise UserError(
            f"sweep={grid.name} {' '.join(words)}: no run of the grid is meant by all these words together. "
            f"Leave one out; `python -m ufgir.sweep plan sweep={grid.name}` shows what there is."
        )
    return jobs


def _products(grid: Grid, narrowing: Mapping[str, set], further: Sequence[str]) -> list[tuple[str, ...]]:
    """The runs of the products that have every axis that is narrowed, each run once."""
    jobs: dict[tuple[str, ...], None] = {}
    extra = list(jobs_of(further)) if further else [()]
    given = {word.partition("=")[0] for word in further}
    for axes in grid.union:
        chosen = {
            axis: [value for value in values if axis not in narrowing or _canonical(value) in narrowing[axis]]
            for axis, values in axes.items()
        }
        if not set(narrowing) <= set(axes):  # this product does not have the axis that was asked for
            continue
        for values in product(*chosen.values()):
            job = (*grid.words, *(f"{axis}={value}" for axis, value in zip(chosen, values, strict=True)))
            job = tuple(word for word in job if word.partition("=")[0] not in given)
            if grid.published_lr and "optim.lr" not in given:
                job += _published_lr(job)
            for more in extra:
                jobs[_with_rate_of_none((*job, *more))] = None
    return list(jobs)


def label(job: Sequence[str], axis: str) -> str | None:
    """Value of a run on an axis, as the paper counts it: ToMe at twice the layers is its keep rate 0.25."""
    words = _as_dict(job)
    if axis == "keep_rate" and words.get("reducer") == "none":
        return "1.0"
    if axis == "keep_rate" and words.get("reducer") == "tome" and words.get("reduction_layers") == TOME_QUARTER:
        return "0.25"
    return words.get(axis)


def _rate(job: Sequence[str]) -> float | str:
    return _canonical(label(job, "keep_rate") or "")


def _values(grid: Grid) -> dict[str, tuple[str, ...]]:
    """The values by which a grid can be narrowed: those of its axes, and its keep rates as they are counted."""
    axes = grid.axes
    if "keep_rate" in axes:
        labels = dict.fromkeys(label(job, "keep_rate") for job in _products(grid, {}, ()))
        axes["keep_rate"] = tuple(filter(None, labels))
    return axes


def _sorted_words(grid: Grid, words: Sequence[str]) -> tuple[dict[str, set], list[str]]:
    """The words that narrow the grid, as values by axis, and the others."""
    axes, narrowing, further, faults = _values(grid), {}, [], []
    for word in words:
        axis = word.partition("=")[0]
        if axis not in axes:
            further.append(word)
            continue
        asked = [job[0].partition("=")[2] for job in jobs_of([word])]
        there = {_canonical(value) for value in axes[axis]}
        if missing := [value for value in asked if _canonical(value) not in there]:
            faults.append(f"{axis}={listed(missing)}: sweep={grid.name} has {axis}={listed(axes[axis])}.")
        narrowing[axis] = {_canonical(value) for value in asked}
    if faults:
        raise UserError(*faults)
    return narrowing, further


def _published_lr(job: Sequence[str]) -> tuple[str, ...]:
    rate = _published_rates().get(tuple(_canonical(label(job, axis) or "") for axis in CELL))
    return (f"optim.lr={rate}",) if rate else ()


@cache
def _published_rates() -> dict[tuple, str]:
    """Learning rates of the cells that the authors did not train with 1e-4."""
    with (sweep_dirs()[0] / "published_lr.csv").open(newline="") as file:
        return {tuple(_canonical(row[axis]) for axis in CELL): row["lr"] for row in csv.DictReader(file)}


def _with_rate_of_none(job: tuple[str, ...]) -> tuple[str, ...]:
    """The unreduced model has one keep rate, whatever the grid says of the others."""
    if "reducer=none" not in job:
        return job
    return (*(word for word in job if not word.startswith("keep_rate=")), "keep_rate=1.0")


def _as_dict(job: Sequence[str]) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in job)


def _typed(value: object) -> str:
    return typed("", value)[1:]


def _canonical(value: str) -> float | str:
    """Numbers by their value: 0.10 is 0.1."""
    try:
        return float(value)
    except ValueError:
        return value.replace(" ", "")


def axes_of(jobs: Sequence[Sequence[str]]) -> Iterator[str]:
    """Settings in which runs differ, or which the paper's grid is told by."""
    named = dict.fromkeys(word.partition("=")[0] for job in jobs for word in job)
    yield from (axis for axis in named if axis in (*CELL, "seed") or len({label(job, axis) for job in jobs}) > 1)
