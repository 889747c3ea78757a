"""What is printed of a conversion: every fact with its source, and every entry of the file."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from ufgir.published.conversion import Conversion
from ufgir.published.facts import Facts
from ufgir.published.reading import Published

ORDER = (
    "backbone", "reducer", "keep_rate", "reduction_layers", "plugins.head", "plugins.cache", "image_size", "classes",
    "dataset", "protocol",
)  # fmt: skip  # of the facts; those of the training come last


def report_lines(published: Published, facts: Facts, remarks: Sequence[str], conversion: Conversion) -> Iterator[str]:
    """The report, line by line."""
    yield f"{published.path}: {_layout(published)}"
    yield ""
    wide = max(map(len, facts))
    for key, fact in sorted(facts.items(), key=lambda item: _place(item[0])):
        yield f"  {key:<{wide}}  {_shown(fact.value):<40}  {fact.source}".rstrip()
    yield ""
    yield from (f"note: {remark}" for remark in (*published.remarks, *remarks))
    yield from _entry_lines(published.state_dict, conversion)


def _place(key: str) -> tuple[int, str]:
    return next((place for place, start in enumerate(ORDER) if key.startswith(start)), len(ORDER)), key


def _layout(published: Published) -> str:
    release = {"args": "first release, settings in args", "config": "follow-up, settings in config"}
    return release.get(published.section, "weights alone, without settings")


def _entry_lines(state_dict: Mapping[str, Tensor], conversion: Conversion) -> Iterator[str]:
    ours = conversion.model.state_dict()
    dropped = sum(not names for names in conversion.origins.values())
    yield f"{len(state_dict)} entries of the file, {len(ours)} of the model, {dropped} dropped:"
    wide = max(map(len, state_dict))
    for name, value in state_dict.items():
        names = conversion.origins[name]
        became = ", ".join(
            other if ours[other].shape == value.shape else f"{other} {tuple(ours[other].shape)}" for other in names
        )
        yield f"  {name:<{wide}}  {tuple(value.shape)} -> {became or f'dropped: {_reason(name)}'}"


def _reason(name: str) -> str:
    if name.startswith("head."):
        return "unused, as the aggregation head classifies"
    return "the model has no use for it"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
