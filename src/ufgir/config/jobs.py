"""From words that list several values to the words of each run."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ufgir.config.compose import compose_run
from ufgir.config.settings import resolve
from ufgir.errors import UserError


def jobs_of(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The words of each job: every combination of the values that words such as `seed=1,10` list.

    Raises:
        UserError: words that are not of Hydra's form.
    """
    try:
        overrides = OverridesParser.create().parse_overrides(list(words))
    except HydraException:
        raise UserError(*compose_run(words)[1]) from None
    values = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [override.input_line]
        for override in overrides
    ]
    return product(*values)


def sound_jobs(words: Sequence[str]) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """The words of each model and its configuration. `none` has no keep rate, so it comes once.

    Raises:
        UserError: the faults of all models, each fault once.
    """
    jobs: dict[tuple[str, ...], dict[str, Any]] = {}
    faults: dict[str, None] = {}
    for job in jobs_of(words):
        if "reducer=none" in job:
            job = tuple(word for word in job if not word.startswith("keep_rate="))
        if job not in jobs:
            config, found = compose_run(list(job))
            faults.update(dict.fromkeys(found))
            jobs[job] = {} if found else resolve(config)
    if faults:
        raise UserError(*faults)
    for job, config in jobs.items():
        yield dict(word.partition("=")[::2] for word in job), config
