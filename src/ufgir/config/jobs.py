"""From words that list several values to the words of each run."""

from collections.abc import Iterator, Sequence
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ufgir.config.compose import compose_run
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
