"""The margin of one leaf: five lobes around the petiole's junction at (0, 0), the tip near (0, 1), teeth along it."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from ufgir.data.leaves.cultivar import Cultivar

_STEPS = 24
_SAMPLES_PER_TOOTH = 10


@dataclass(frozen=True)
class HalfLobe:
    """The margin from the bottom of a sinus to the apex of a lobe.

    Args:
        lobe: 0 the tip, 1 the upper and 2 the lower lobe of a side.
        mirrored: whether it lies on the left side, x < 0.
        margin: points (K, 2) from sinus to apex, teeth included.
        peaks: the points of its teeth (T, 2), the apex last.
    """

    lobe: int
    mirrored: bool
    margin: np.ndarray
    peaks: np.ndarray


def half_lobes(traits: Cultivar, rng: Generator) -> list[HalfLobe]:
    """The ten half-lobes of one leaf in order around it, from the petiolar sinus clockwise back to it.

    Every leaf varies around its cultivar, its two sides independently.
    """
    left, right = _side(traits, rng, mirrored=True), _side(traits, rng, mirrored=False)
    return left + right[::-1]


def polygon(halves: list[HalfLobe]) -> np.ndarray:
    """The whole margin as a closed polygon (K, 2)."""
    # Half-lobes run from sinus to apex, so every second one is walked backwards.
    return np.concatenate([half.margin[:: 1 - 2 * (i % 2)] for i, half in enumerate(halves)])


def _side(traits: Cultivar, rng: Generator, mirrored: bool) -> list[HalfLobe]:
    """The five half-lobes of one side, from the petiolar sinus to the tip."""
    curve = _envelope(traits, rng)
    # Parts between knots, each from its sinus to its apex: (lobe, first knot, last knot).
    parts = [(2, 6, 4), (2, 3, 4), (1, 3, 2), (1, 1, 2), (0, 1, 0)]
    curves = [_between(curve, first, last) for _, first, last in parts]
    total = sum(map(_length, curves))
    flip = np.array([-1.0, 1.0]) if mirrored else np.ones(2)
    halves = []
    for (lobe, first, last), part in zip(parts, curves, strict=True):
        count = max(2, round(traits.teeth / 2 * _length(part) / total * rng.normal(1.0, 0.04)))
        margin, peaks = _toothed(part, count, 1 if first < last else -1, traits, rng)
        halves.append(HalfLobe(lobe, mirrored, margin * flip, peaks * flip))
    sinus = _between(curve, 8, 6) * flip
    halves[0] = HalfLobe(2, mirrored, np.concatenate([sinus, halves[0].margin]), halves[0].peaks)
    return halves


def _envelope(traits: Cultivar, rng: Generator) -> np.ndarray:
    """The right side without teeth (8·_STEPS + 1, 2), from the tip clockwise to the petiole's junction; nine knots."""
    degrees = np.array([0, 27, 50, 80, 106, 138, 163]) + rng.normal(0, 2.5, 7) * (np.arange(7) > 0)
    cut = 1 - traits.lobing * rng.normal(1.0, 0.2, 2) * [1.0, 0.8]
    radius = np.array([0.95, 0.84 * cut[0], 0.84, 0.78 * cut[1], 0.72, 0.66, 0.5])
    radius[1:] *= rng.normal(1.0, 0.03, 6)
    angle = np.radians(degrees)
    knots = np.stack([radius * np.sin(angle) * traits.width, radius * np.cos(angle)], axis=1)
    mirror = knots[1] * [-1, 1]
    petiole = [[0.05 * rng.uniform(0.4, 1.6), -0.2], [0.0, 0.0], [-0.1, 0.1]]
    return _spline(np.concatenate([[mirror], knots, petiole]))


def _spline(knots: np.ndarray) -> np.ndarray:
    """A Catmull-Rom curve through all knots (n, 2) but the first and the last, ((n-3)·_STEPS + 1, 2)."""
    t = np.arange(_STEPS)[:, None] / _STEPS
    before, start, end, after = (knots[i : len(knots) - 3 + i, None] for i in range(4))
    cubic = 3 * (start - end) + after - before
    curve = start + 0.5 * t * (end - before + t * (2 * before - 5 * start + 4 * end - after + t * cubic))
    return np.concatenate([curve.reshape(-1, 2), knots[-2:-1]])


def _between(curve: np.ndarray, first: int, last: int) -> np.ndarray:
    """The part of a spline from one knot to another, in that direction."""
    low, high = sorted((first, last))
    part = curve[low * _STEPS : high * _STEPS + 1]
    return part if first < last else part[::-1]


def _length(curve: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(curve, axis=0), axis=1).sum())


def _toothed(curve: np.ndarray, count: int, turn: int, traits: Cultivar, rng: Generator):
    """Puts `count` teeth on a curve that ends at an apex.

    Args:
        turn: +1 when the curve runs clockwise around the leaf, else -1.

    Returns:
        The margin (K, 2) and the points of the teeth (count, 2).
    """
    skew = traits.tooth_skew
    points = np.arange(count) + skew
    # The phase counts teeth; the last tooth ends at its point, which is the apex.
    phase = np.union1d(np.linspace(0, points[-1], count * _SAMPLES_PER_TOOTH), points)
    base = _resample(curve, phase, rng.uniform(0.65, 1.35, count))
    within = phase - np.floor(phase)
    flank = np.where(within < skew, within / skew, (1 - within) / (1 - skew)) ** traits.tooth_sharpness
    depth = traits.tooth_depth * rng.lognormal(0, 0.2, count) * np.where(np.arange(count) % 2, 1.1, 0.8)
    depth[-1] = 1.6 * traits.tooth_depth
    tangent = np.gradient(base, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    outward = turn * np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) + 0.4 * tangent
    # At the apex both half-lobes must meet in one point, so there the tooth points away from the junction.
    apex = np.clip(phase - points[-1] + 1, 0, 1)[:, None]
    outward = (1 - apex) * outward + apex * base / np.linalg.norm(base, axis=1, keepdims=True)
    margin = base + (flank * depth[np.floor(phase).astype(int)])[:, None] * outward
    return margin, margin[np.searchsorted(phase, points)]


def _resample(curve: np.ndarray, phase: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Points (len(phase), 2) of a curve that is as long as the teeth of those relative widths, up to the last phase."""
    along = np.concatenate([[0], np.linalg.norm(np.diff(curve, axis=0), axis=1).cumsum()])
    place = np.interp(phase, np.arange(len(widths) + 1), np.concatenate([[0], widths.cumsum()]))
    place *= along[-1] / place[-1]
    return np.stack([np.interp(place, along, curve[:, axis]) for axis in range(2)], axis=1)
