"""What one cultivar is: a point in the space of leaf traits. All cultivars belong to one invented vine species."""

from dataclasses import dataclass, field, fields
from functools import cache

import numpy as np

_BATCH = 20
_TRIES = 300
_SHOWN = 5  # the first traits are the ones that a glance shows: they keep cultivars apart
_FIRST = "Alba Bel Cor Dor Elva Fer Gal Hel Iso Jura Kal Lor Mar Nor Oro Pal Quin Rosa Sal Tre".split()
_SECOND = "bello dine faro garda lenta mosa nera pino rasco silva tana vera".split()


def _trait(low: float, high: float) -> float:
    """A field of `Cultivar` that lies between two values, over all cultivars."""
    return field(metadata={"range": (low, high)})


@dataclass(frozen=True)
class Cultivar:
    """Mean traits of one cultivar; lengths are in units of the midrib's length."""

    vein_tone: float = _trait(-0.35, 0.4)  # log brightness of the tissue along the main veins, beside the blade's
    vein_blush: float = _trait(-0.7, 1.0)  # its tint: below 0 bluish green, above rosy
    margin_tone: float = _trait(-0.3, 0.3)  # the same of the tissue along the margin
    margin_blush: float = _trait(-0.7, 1.0)
    mesh_tone: float = _trait(-0.8, 1.0)  # of the tertiary veins: 1 as pale as secondary ones, below 0 dark
    mesh_size: float = _trait(0.075, 0.17)  # side of a cell of their network
    mesh_stretch: float = _trait(0.74, 1.35)  # its elongation: above 1 radially, below 1 across
    blister: float = _trait(0.2, 1.0)  # relief of the blade between them
    secondaries: float = _trait(4, 8)  # secondary veins on each side of the midrib
    secondary_angle: float = _trait(38, 58)  # at which they leave it, degrees
    secondary_curve: float = _trait(-0.08, 0.16)  # their bending towards the tip, share of their length
    teeth: float = _trait(36, 72)  # teeth around the margin
    tooth_depth: float = _trait(0.035, 0.06)
    tooth_sharpness: float = _trait(0.7, 1.5)  # exponent of a tooth's flank: below 1 rounded, above 1 spiny
    tooth_skew: float = _trait(0.5, 0.85)  # place of a tooth's point: 0.5 in its middle, 1 towards the lobe's tip
    lobing: float = _trait(0.06, 0.2)  # depth of the sinuses between the lobes
    width: float = _trait(0.94, 1.06)  # of the blade, relative to the species' mean

    @classmethod
    def draw(cls, seed: int, class_id: int) -> "Cultivar":
        """The cultivar with that number in the world of that seed, whatever the number of classes."""
        batch, row = divmod(class_id, _BATCH)
        levels = _design(seed, batch)[row]
        low, high = np.array([trait.metadata["range"] for trait in fields(cls)]).T
        return cls(*(low + levels * (high - low)).tolist())


@cache
def _design(seed: int, batch: int) -> np.ndarray:
    """Levels in (0, 1) of all traits (batch, traits): evenly spread in each trait, no two cultivars alike.

    Of many random Latin hypercubes it is the one whose closest pair is farthest apart in the first `_SHOWN` traits.
    """
    rng = np.random.default_rng([seed, batch])
    best, best_distance = np.empty(0), -1.0
    for _ in range(_TRIES):
        levels = (rng.permuted(np.tile(np.arange(_BATCH), (len(fields(Cultivar)), 1)), axis=1).T + 0.5) / _BATCH
        shown = levels[:, :_SHOWN]
        distance = np.square(shown[:, None] - shown).sum(-1)[np.triu_indices(_BATCH, 1)].min()
        if distance > best_distance:
            best, best_distance = levels, distance
    return best


def cultivar_name(seed: int, class_id: int) -> str:
    """An invented cultivar name, unique within a seed."""
    pairs = len(_FIRST) * len(_SECOND)
    round_, place = divmod(class_id, pairs)
    first, second = divmod(int(np.random.default_rng(seed).permutation(pairs)[place]), len(_SECOND))
    return _FIRST[first] + _SECOND[second] + (f"_{round_ + 1}" if round_ else "")
