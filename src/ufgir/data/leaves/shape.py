"""The shape of one leaf: its margin of five lobes and many teeth, and its veins.

Coordinates are in units of the midrib: the petiole's junction at (0, 0), the tip near (0, 1).
"""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from ufgir.data.leaves.cultivar import Cultivar

_STEPS = 24
_SAMPLES_PER_TOOTH = 10
_SECONDARY_SHARE = (1.0, 0.75, 0.6)  # of a half-lobe in the tip, the upper and the lower lobe
_TAPER = np.linspace(1.0, 0.25, 25)


class HalfLobe(NamedTuple):
    """The margin from the bottom of a sinus to the apex of a lobe."""

    lobe: int  # 0 the tip, 1 the upper and 2 the lower lobe of a side
    mirrored: bool  # whether it lies on the left side, x < 0
    margin: np.ndarray  # points (K, 2) from sinus to apex, teeth included
    peaks: np.ndarray  # the points of its teeth (T, 2), the apex last


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
    # Nine knots of the right side without teeth, from the tip clockwise to the petiole's junction.
    degrees = np.array([0, 27, 50, 80, 106, 138, 163]) + rng.normal(0, 2.5, 7) * (np.arange(7) > 0)
    cut = 1 - traits.lobing * rng.normal(1.0, 0.2, 2) * [1.0, 0.8]
    radius = np.array([0.95, 0.84 * cut[0], 0.84, 0.78 * cut[1], 0.72, 0.66, 0.5])
    radius[1:] *= rng.normal(1.0, 0.03, 6)
    angle = np.radians(degrees)
    knots = np.stack([radius * np.sin(angle) * traits.width, radius * np.cos(angle)], axis=1)
    petiole = [[0.05 * rng.uniform(0.4, 1.6), -0.2], [0.0, 0.0], [-0.1, 0.1]]
    knots = np.concatenate([[knots[1] * [-1, 1]], knots, petiole])
    # A Catmull-Rom curve through all of them but the first and the last.
    t = np.arange(_STEPS)[:, None] / _STEPS
    before, start, end, after = (knots[i : len(knots) - 3 + i, None] for i in range(4))
    cubic = 3 * (start - end) + after - before
    curve = start + 0.5 * t * (end - before + t * (2 * before - 5 * start + 4 * end - after + t * cubic))
    curve = np.concatenate([curve.reshape(-1, 2), knots[-2:-1]])

    def between(first: int, last: int) -> np.ndarray:
        low, high = sorted((first, last))
        return curve[low * _STEPS : high * _STEPS + 1][:: 1 if first < last else -1]

    # Parts between knots, each from its sinus to its apex: (lobe, first knot, last knot).
    parts = [(2, 6, 4), (2, 3, 4), (1, 3, 2), (1, 1, 2), (0, 1, 0)]
    lengths = [float(_steps(between(first, last)).sum()) for _, first, last in parts]
    flip = np.array([-1.0, 1.0]) if mirrored else np.ones(2)
    halves = []
    for (lobe, first, last), length in zip(parts, lengths, strict=True):
        count = max(2, round(traits.teeth / 2 * length / sum(lengths) * rng.normal(1.0, 0.04)))
        margin, peaks = _toothed(between(first, last), count, 1 if first < last else -1, traits, rng)
        halves.append(HalfLobe(lobe, mirrored, margin * flip, peaks * flip))
    sinus = between(8, 6) * flip
    halves[0] = halves[0]._replace(margin=np.concatenate([sinus, halves[0].margin]))
    return halves


def _steps(curve: np.ndarray) -> np.ndarray:
    """Distances (K - 1,) between the points (K, 2) of a curve."""
    return np.linalg.norm(np.diff(curve, axis=0), axis=1)


def _toothed(curve: np.ndarray, count: int, turn: int, traits: Cultivar, rng: Generator):
    """Put `count` teeth on a curve that ends at an apex: the margin (K, 2) and the points of the teeth (count, 2).

    `turn` is +1 when the curve runs clockwise around the leaf, else -1.
    """
    skew = traits.tooth_skew
    points = np.arange(count) + skew
    # The phase counts teeth; the last tooth ends at its point, which is the apex.
    phase = np.union1d(np.linspace(0, points[-1], count * _SAMPLES_PER_TOOTH), points)
    widths = rng.uniform(0.65, 1.35, count)
    along = np.concatenate([[0], _steps(curve).cumsum()])
    place = np.interp(phase, np.arange(count + 1), np.concatenate([[0], widths.cumsum()]))
    place *= along[-1] / place[-1]
    base = np.stack([np.interp(place, along, curve[:, axis]) for axis in range(2)], axis=1)
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


def strands(halves: list[HalfLobe], traits: Cultivar, rng: Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Primary and secondary veins as slim polygons (K, 2), widest at their origin."""
    primaries, secondaries = {}, []
    for half in halves:
        key = (half.lobe, half.mirrored and half.lobe > 0)
        if key not in primaries:
            primaries[key] = _bezier(np.zeros(2), half.peaks[-1], rng.normal(0, 0.03))
        primary, last = primaries[key], len(half.peaks) - 1
        length = np.linalg.norm(primary[-1])
        axis = primary[-1] / length
        count = min(round(traits.secondaries * _SECONDARY_SHARE[half.lobe] + rng.normal(0, 0.25)), last)
        chosen = np.linspace(0, last, count, endpoint=False)
        side = np.sign(_cross(axis, half.margin[len(half.margin) // 2]))
        # Each secondary vein runs from the primary one to the point of a tooth.
        for number, end in enumerate(half.peaks[chosen.round().astype(int)]):
            slope = np.tan(np.radians(traits.secondary_angle + rng.normal(0, 3)))
            start = (end @ axis - abs(_cross(axis, end)) / slope) / length
            start = np.clip(start, 0.05 + 0.05 * number, 0.93) * (len(primary) - 1)
            low = int(start)
            origin = primary[low] + (start - low) * (primary[low + 1] - primary[low])
            bend = side * (traits.secondary_curve + rng.normal(0, 0.02))
            secondaries.append(_bezier(origin, end, bend))
    thick = [_ribbon(curve, 0.012 * np.linalg.norm(curve[-1]) ** 0.5) for curve in primaries.values()]
    return thick, [_ribbon(curve, 0.0062) for curve in secondaries]


def _cross(a: np.ndarray, b: np.ndarray) -> float:
    return float(a[0] * b[1] - a[1] * b[0])


def _bezier(start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    """A quadratic curve (25, 2) whose middle bulges to the left by `bend` of its length."""
    chord = end - start
    control = start + 0.55 * chord + bend * 2 * np.array([-chord[1], chord[0]])
    t = np.linspace(0, 1, len(_TAPER))[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end


def _ribbon(curve: np.ndarray, half_width: float) -> np.ndarray:
    """The outline (2K, 2) of a tapering strand along a curve (K, 2)."""
    tangent = np.gradient(curve, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    offset = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) * (half_width * _TAPER)[:, None]
    return np.concatenate([curve + offset, (curve - offset)[::-1]])


def network(x: np.ndarray, y: np.ndarray, cell: float, stretch: float, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """A network of veins as the borders of irregular cells (Voronoi cells of a jittered grid).

    Args:
        x, y: places (n,) in units of the midrib.
        cell: mean side of a cell, same unit.
        stretch: elongation of the cells, above 1 along the rays from the petiole's junction.

    Returns:
        Distance to the nearest border (n,), in units of the midrib, and the height (n,) in [0, 1] of a cell's bulge.
    """
    radius = np.sqrt(x * x + y * y) + 1e-6
    ray_x, ray_y = x / radius, y / radius
    column, row = np.floor(x / cell).astype(np.int32), np.floor(y / cell).astype(np.int32)
    column -= column.min() - 1
    row -= row.min() - 1
    left, bottom = np.floor(x.min() / cell) - 1, np.floor(y.min() / cell) - 1
    shape = (row.max() + 2, column.max() + 2)
    site_x = ((left + np.arange(shape[1]) + rng.uniform(0.08, 0.92, shape)) * cell).astype(np.float32)
    site_y = ((bottom + np.arange(shape[0])[:, None] + rng.uniform(0.08, 0.92, shape)) * cell).astype(np.float32)
    nearest = np.full(x.shape, np.inf, np.float32)
    second = nearest.copy()
    for step in np.ndindex(3, 3):
        place = (row + step[0] - 1) * shape[1] + column + step[1] - 1
        dx, dy = site_x.ravel()[place] - x, site_y.ravel()[place] - y
        along, across = (dx * ray_x + dy * ray_y) / stretch, (dy * ray_x - dx * ray_y) * stretch
        squared = along * along + across * across
        second = np.minimum(second, np.maximum(nearest, squared))
        nearest = np.minimum(nearest, squared)
    nearest, second = np.sqrt(nearest), np.sqrt(second)
    return (second - nearest) / 2, np.clip(1 - (nearest / (0.8 * cell)) ** 2, 0, 1)
