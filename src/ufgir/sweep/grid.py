"""A grid of runs: a union of products, narrowed and extended on the command line."""

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ufgir.config.compose import hydra_errors
from ufgir.errors import UserError, did_you_mean, show, validation_messages
from ufgir.utils import project_dir

Job = tuple[str, ...]  # the overrides of one run
PUBLISHED = project_dir("sweeps") / "published_runs.csv.gz"  # the authors' run table, numbers only
TOME_QUARTER = "[2,3,5,6,8,9]"  # layers at which ToMe with keep rate 0.5 is the paper's 0.25
CELL = ("dataset", "backbone", "reducer", "keep_rate", "image_size", "plugins")


def _typed(values: Any) -> tuple[str, ...]:
    """The values of an axis, one or a list, as they are typed."""
    return tuple(show(value) for value in (values if isinstance(values, list) else [values]))


Axes = Annotated[
    dict[str, Annotated[tuple[str, ...], BeforeValidator(_typed), Field(min_length=1)]], Field(min_length=1)
]


class Grid(BaseModel):
    """What a file of the group `sweep` says.

    Attributes:
        name: of the file.
        words: overrides of every run.
        union: products, each the values of its axes: key or group -> values as they are typed.
        published_lr: use the learning rates of the authors' run table.
    """

    model_config = ConfigDict(extra="forbid")
    name: str
    words: Job = ()
    union: Annotated[list[Axes], Field(min_length=1)]
    published_lr: bool = False

    @classmethod
    def of(cls, content: Any, name: str) -> "Grid":
        """The grid of a file's content.

        Raises:
            UserError: it is not one.
        """
        try:
            return cls.model_validate({**content, "name": name} if isinstance(content, Mapping) else content)
        except ValidationError as error:
            raise UserError(*(f"sweep={name}: {text}" for text in validation_messages(error, cls))) from None

    def products(self) -> list[Job]:
        """All runs of the file."""
        return [
            (*self.words, *(f"{axis}={value}" for axis, value in zip(axes, values, strict=True)))
            for axes in self.union
            for values in product(*axes.values())
        ]

    @property
    def axes(self) -> dict[str, list[str]]:
        """Every axis with all its values, in the order of the file; keep rates as the paper counts them."""
        names, jobs = dict.fromkeys(axis for axes in self.union for axis in axes), self.products()
        return {axis: list(dict.fromkeys(filter(None, (label(job, axis) for job in jobs)))) for axis in names}

    def expand(self, overrides: Sequence[str] = ()) -> list[Job]:
        """The overrides of each run, each run once.

        Args:
            overrides: of the command line. One that names an axis narrows the grid to its values; any other one is
                added to every run, several values multiply the runs.

        Raises:
            UserError: a value that the grid does not have, or no run fits all overrides.
        """
        axes, jobs, further, errors = self.axes, self.products(), [], []
        for override in overrides:
            axis = override.partition("=")[0]
            if axis not in axes:
                further.append(override)
                continue
            asked = [job[0].partition("=")[2] for job in expand_values([override])]
            there = set(map(_number, axes[axis]))
            if missing := [value for value in asked if _number(value) not in there]:
                errors.append(f"{axis}={','.join(missing)}: sweep={self.name} has {axis}={','.join(axes[axis])}.")
            jobs = [job for job in jobs if _number(label(job, axis) or "") in map(_number, asked)]
        if errors:
            raise UserError(*errors)
        if not jobs:
            raise UserError(
                f"sweep={self.name} {' '.join(overrides)}: no run of the grid fits all of these. "
                f"`python -m ufgir.sweep plan sweep={self.name}` shows what there is."
            )
        extra, given = list(expand_values(further)), {override.partition("=")[0] for override in further}
        found: dict[Job, None] = {}
        for job in jobs:
            job = tuple(override for override in job if override.partition("=")[0] not in given)
            if self.published_lr and "optim.lr" not in given:
                job += _published_lr(job)
            found |= dict.fromkeys(_without_rate_of_none((*job, *more)) for more in extra)
        return list(found)


def grid_names() -> list[str]:
    """The files of the group `sweep`."""
    return sorted(file.stem for file in (project_dir("sweeps") / "sweep").glob("*.yaml"))


def load_grid(name: str, folders: Sequence[Path] = ()) -> Grid:
    """The grid of `sweep/<name>.yaml`, ours or in one of `folders`, or of a YAML file.

    Raises:
        UserError: there is no such grid, or its file is not one.
    """
    files = [folder / "sweep" / f"{name}.yaml" for folder in (project_dir("sweeps"), *folders)]
    for file in (*files, Path(name)):
        if file.is_file():
            return Grid.of(OmegaConf.to_container(OmegaConf.load(file)), name)
    raise UserError(f"sweep={name}: expected one of {', '.join(grid_names())}.{did_you_mean(name, grid_names())}")


def expand_values(overrides: Sequence[str]) -> Iterator[Job]:
    """Every combination of the values that overrides such as `seed=1,10` list.

    Raises:
        UserError: overrides that Hydra cannot read.
    """
    with hydra_errors():
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        values = [
            [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
            if o.is_sweep_override()
            else [o.input_line]
            for o in parsed
        ]
    return product(*values)


def jobs_of(overrides: Sequence[str], folders: Sequence[Path] = ()) -> tuple[Job, ...]:
    """The overrides of each run of a command: of a grid with `sweep=NAME`, else every combination of values.

    Args:
        overrides: of the command line.
        folders: further folders with a group `sweep`.

    Raises:
        UserError: there is no such grid, or an override does not fit it.
    """
    names = [o.partition("=")[2] for o in overrides if o.startswith(("sweep=", "+sweep="))]
    others = [o for o in overrides if not o.lstrip("+").startswith(("sweep=", "hydra.", "hydra/"))]
    if not names:
        return tuple(dict.fromkeys(expand_values(others)))
    if len(names) > 1 or "," in names[0]:
        raise UserError(f"sweep={','.join(names)}: expected one grid.")
    return tuple(load_grid(names[0], folders).expand(others))


def label(job: Sequence[str], axis: str) -> str | None:
    """Value of a run on an axis, as the paper counts it: ToMe at twice the layers is its keep rate 0.25."""
    values = dict(override.partition("=")[::2] for override in job)
    if axis == "keep_rate" and values.get("reducer") == "none":
        return "1.0"
    if axis == "keep_rate" and values.get("reducer") == "tome" and values.get("reduction_layers") == TOME_QUARTER:
        return "0.25"
    return values.get(axis)


def varied_axes(jobs: Sequence[Job]) -> list[str]:
    """Keys in which runs differ, and those of the paper's grid."""
    named = dict.fromkeys(override.partition("=")[0] for job in jobs for override in job)
    return [axis for axis in named if axis in (*CELL, "seed") or len({label(job, axis) for job in jobs}) > 1]


def _published_lr(job: Job) -> Job:
    rate = _published_rates().get(tuple(_number(label(job, axis) or "") for axis in CELL))
    return (f"optim.lr={rate}",) if rate else ()


@cache
def _published_rates() -> dict[tuple, str]:
    """Learning rates of the cells that the authors did not train with 1e-4."""
    with gzip.open(PUBLISHED, "rt", newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["lr"]) != 1e-4]
    return {tuple(_number(row[axis]) for axis in CELL): row["lr"] for row in rows}


def _without_rate_of_none(job: Job) -> Job:
    """The unreduced model has one keep rate, 1."""
    if "reducer=none" not in job:
        return job
    return (*(override for override in job if not override.startswith("keep_rate=")), "keep_rate=1.0")


def _number(value: str) -> float | str:
    """Numbers by their value: 0.10 is 0.1."""
    try:
        return float(value)
    except ValueError:
        return value.replace(" ", "")
