"""The venation of one leaf: primary veins to the lobes, secondary veins to the teeth, a network in between."""

import numpy as np
from numpy.random import Generator

from ufgir.data.leaves.cultivar import Cultivar
from ufgir.data.leaves.outline import HalfLobe

_SECONDARY_SHARE = (1.0, 0.75, 0.6)  # of a half-lobe in the tip, the upper and the lower lobe
_TAPER = np.linspace(1.0, 0.25, 25)


def strands(halves: list[HalfLobe], traits: Cultivar, rng: Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Primary and secondary veins as slim polygons (K, 2), widest at their origin."""
    primaries, secondaries = {}, []
    for half in halves:
        key = (half.lobe, half.mirrored and half.lobe > 0)
        if key not in primaries:
            primaries[key] = _bezier(np.zeros(2), half.peaks[-1], rng.normal(0, 0.03))
        secondaries += _secondaries(half, primaries[key], traits, rng)
    thick = [_ribbon(curve, 0.012 * np.linalg.norm(curve[-1]) ** 0.5) for curve in primaries.values()]
    return thick, [_ribbon(curve, 0.0062) for curve in secondaries]


def _secondaries(half: HalfLobe, primary: np.ndarray, traits: Cultivar, rng: Generator) -> list[np.ndarray]:
    """The secondary veins of a half-lobe, each from its primary vein (25, 2) to the point of a tooth."""
    count = min(round(traits.secondaries * _SECONDARY_SHARE[half.lobe] + rng.normal(0, 0.25)), len(half.peaks) - 1)
    chosen = np.linspace(0, len(half.peaks) - 1, count, endpoint=False).round().astype(int)
    axis = primary[-1] / np.linalg.norm(primary[-1])
    side = np.sign(_cross(axis, half.margin[len(half.margin) // 2]))
    curves = []
    for number, end in enumerate(half.peaks[chosen]):
        slope = np.tan(np.radians(traits.secondary_angle + rng.normal(0, 3)))
        height = abs(_cross(axis, end))
        start = (end @ axis - height / slope) / np.linalg.norm(primary[-1])
        start = np.clip(start, 0.05 + 0.05 * number, 0.93) * (len(primary) - 1)
        low = int(start)
        origin = primary[low] + (start - low) * (primary[low + 1] - primary[low])
        curves.append(_bezier(origin, end, side * (traits.secondary_curve + rng.normal(0, 0.02))))
    return curves


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
