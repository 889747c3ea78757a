"""The raw Ultra-FGVC release: its five sets, and which folder is which. `raw_set.py` reads what is in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ufgir.data.tables import SPLITS
from ufgir.data.wording import listed

STAGES = ("R1", "R3", "R4", "R5", "R6")
DEPTH = 3  # the release nests its sets, as in SoyAgeing/SoyAgeing-R1/R1


@dataclass(frozen=True)
class UltraSet:
    """One of the five sets: the names its folder goes by, and its size as the paper states it."""

    aliases: frozenset[str]  # lower case, letters and digits only
    counts: dict[str, int]
    stages: tuple[str, ...] = ("",)  # folders that are pooled; "" is the set's own
    labelled_names: bool = False  # files are named {class}_{index}_{train|test}.png


def _set(aliases: str, *counts: int, **options) -> UltraSet:
    return UltraSet(frozenset(aliases.split()), dict(zip(("classes", *SPLITS), counts, strict=True)), **options)


SETS = {
    "cotton80": _set("cotton cotton80", 80, 160, 80, 240, 240, labelled_names=True),
    "soylocal": _set("soylocal soybean200 soybeanlocal soycultivar200", 200, 400, 200, 600, 600, labelled_names=True),
    "soygene": _set("soygene soybeangene", 1110, 9562, 3201, 12763, 11143),
    "soyageing": _set("soyageing soyaging soybeanageing soybeanaging", 198, 3960, 990, 4950, 4950, stages=STAGES),
    "soyglobal": _set("soyglobal soybean2000 soybeanglobal soycultivarglobal", 1938, 3876, 1938, 5814, 5814,
                      labelled_names=True),
}


@dataclass
class Release:
    """What was found in a folder.

    Attributes:
        sets: set name → stage (`""` but for SoyAgeing) → folder with `images/`.
        unknown: folders with `images/` and `anno/` whose set their names do not tell.
    """

    sets: dict[str, dict[str, Path]]
    unknown: list[Path]


def find_sets(raw: Path, skip: Path, only: str | None = None) -> tuple[Release, list[str]]:
    """Find the sets in or below `raw`, by the names of their folders.

    Args:
        skip: a folder not to look into, where earlier results are.
        only: the one set to look for; then `raw` itself may be its folder under any name.

    Returns:
        the sets, and a sentence for each fault.
    """
    found: dict[tuple[str, str], list[Path]] = {}
    unknown = []
    for folder in _folders_with_images(raw, skip, DEPTH):
        name, stage = _recognise(folder, raw)
        if name is None and folder == raw and only is not None and SETS[only].stages == ("",):
            name = only
        if name is None and (folder / "anno").is_dir():
            unknown.append(folder)
        elif name is not None and only in (None, name):
            found.setdefault((name, stage), []).append(folder)
    faults = [f"{len(folders)} folders below raw={raw} are {f'{name} {stage}'.strip()} by their names: "
              f"{listed(folders)}; give one of them as raw=" for (name, stage), folders in found.items() if folders[1:]]
    sets: dict[str, dict[str, Path]] = {}
    for (name, stage), folders in found.items():
        sets.setdefault(name, {})[stage] = folders[0]
    for name, stages in sets.items():
        if lacking := [stage for stage in SETS[name].stages if stage not in stages]:
            faults.append(f"{name} below raw={raw} lacks {listed(lacking)}; it is pooled from the folders "
                          f"{', '.join(STAGES)}, each with images/ and anno/")
    return Release(sets, [] if only else unknown), faults


def _folders_with_images(folder: Path, skip: Path, depth: int) -> Iterator[Path]:
    if folder.resolve() == skip.resolve():
        return
    if (folder / "images").is_dir():
        yield folder
    elif depth:
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.name.startswith("."):
                yield from _folders_with_images(child, skip, depth - 1)


def _recognise(folder: Path, raw: Path) -> tuple[str | None, str]:
    """Set and stage of a folder, from its own name and those of the folders around it up to `raw`."""
    around = (raw.resolve().name, *folder.relative_to(raw).parts)
    plain = [re.sub(r"[^a-z0-9]", "", part.lower()) for part in reversed(around)]
    for part in plain:
        stage = re.fullmatch(r"(.*)(r\d)", part)
        if stage and stage[1] in ("", *SETS["soyageing"].aliases) and stage[2].upper() in STAGES:
            return "soyageing", stage[2].upper()
        for name, known in SETS.items():
            if part in known.aliases and known.stages == ("",):
                return name, ""
    return None, ""
