"""What one cultivar is: a point in the space of leaf traits. All cultivars belong to one invented vine species."""

from dataclasses import dataclass, fields

import numpy as np

_BATCH = 20
_TRIES = 300
_FIRST = "Alba Bel Cor Dor Elva Fer Gal Hel Iso Jura Kal Lor Mar Nor Oro Pal Quin Rosa Sal Tre".split()
_SECOND = "bello dine faro garda lenta mosa nera pino rasco silva tana vera".split()

# Trait: (lowest, highest) value over all cultivars. Lengths are in units of the midrib's length.
RANGES = {
    "mesh_size": (0.075, 0.17),       # side of a cell of the tertiary network
    "mesh_stretch": (0.74, 1.35),     # its elongation: above 1 along the radius, below 1 across it
    "mesh_tone": (-0.8, 1.0),         # of the tertiary veins beside the blade: 1 as pale as secondary ones, below 0 darker
    "vein_tone": (-0.5, 0.6),         # of the tissue along the main veins beside the rest of the blade: below 0 darker
    "vein_blush": (-1.0, 1.0),        # its tint: below 0 blue-green, above rosy
    "margin_tone": (-0.5, 0.5),       # the same of the tissue along the margin
    "margin_blush": (-1.0, 1.0),
    "blister": (0.2, 1.0),            # relief of the blade between the veins
    "secondaries": (4.0, 8.0),        # secondary veins on each side of the midrib
    "secondary_angle": (38.0, 58.0),  # at which they leave it, degrees
    "secondary_curve": (-0.08, 0.16),  # their bending towards the tip, share of their length
    "teeth": (36.0, 72.0),            # teeth around the margin
    "tooth_depth": (0.035, 0.06),
    "tooth_sharpness": (0.7, 1.5),    # exponent of a tooth's flank: below 1 rounded, above 1 spiny
    "tooth_skew": (0.5, 0.85),        # where in a tooth its point lies: 0.5 symmetric, 1 hooked towards the lobe's tip
    "lobing": (0.06, 0.2),            # depth of the sinuses between the lobes
    "width": (0.94, 1.06),            # of the blade, relative to the species' mean
}


@dataclass(frozen=True)
class Cultivar:
    """Mean traits of one cultivar; `RANGES` says what each is and how far it varies in the species."""

    mesh_size: float
    mesh_stretch: float
    mesh_tone: float
    vein_tone: float
    vein_blush: float
    margin_tone: float
    margin_blush: float
    blister: float
    secondaries: float
    secondary_angle: float
    secondary_curve: float
    teeth: float
    tooth_depth: float
    tooth_sharpness: float
    tooth_skew: float
    lobing: float
    width: float


def cultivar(seed: int, class_id: int) -> Cultivar:
    """The cultivar with that number in the world of that seed, whatever the number of classes."""
    batch, row = divmod(class_id, _BATCH)
    levels = _latin(np.random.default_rng([seed, batch]))[row]
    low, high = np.array([RANGES[field.name] for field in fields(Cultivar)]).T
    return Cultivar(*(low + levels * (high - low)).tolist())


def _latin(rng: np.random.Generator) -> np.ndarray:
    """Levels in (0, 1) of all traits (batch, traits): every trait takes evenly spread values, the closest pair is far apart.

    The best of many random Latin hypercubes by the smallest distance between two cultivars.
    """
    best, best_distance = np.empty(0), -1.0
    for _ in range(_TRIES):
        levels = (rng.permuted(np.tile(np.arange(_BATCH), (len(RANGES), 1)), axis=1).T + 0.5) / _BATCH
        distance = np.square(levels[:, None] - levels).sum(-1)[np.triu_indices(_BATCH, 1)].min()
        if distance > best_distance:
            best, best_distance = levels, distance
    return best


def name(seed: int, class_id: int) -> str:
    """An invented cultivar name, unique within a seed."""
    pairs = len(_FIRST) * len(_SECOND)
    round_, place = divmod(class_id, pairs)
    first, second = divmod(int(np.random.default_rng(seed).permutation(pairs)[place]), len(_SECOND))
    return _FIRST[first] + _SECOND[second] + (f"_{round_ + 1}" if round_ else "")
