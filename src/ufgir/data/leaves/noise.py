"""Smooth random fields: clouds for blade and background, smooth random lines for curves."""

import numpy as np
from numpy.random import Generator
from PIL import Image

BICUBIC = Image.Resampling.BICUBIC


def clouds(rng: Generator, size: int, cells: float, stretch: float = 1.0) -> np.ndarray:
    """A smooth field (size, size), float32, mean about 0 and standard deviation about 0.7, `cells` blobs across.

    Args:
        rng: source of the randomness; (rows + 3)·(columns + 3) numbers are drawn.
        size: side, pixels.
        cells: blobs along the horizontal side.
        stretch: blobs are this many times longer vertically than horizontally.
    """
    columns, rows = max(1, round(cells)), max(1, round(cells / stretch))
    seeds = Image.fromarray(rng.standard_normal((rows + 3, columns + 3)).astype(np.float32))
    # The outer ring only supports the interpolation, so that blobs at the border look like those inside.
    return np.asarray(seeds.resize((size, size), BICUBIC, box=(1, 1, columns + 2, rows + 2)))


def fractal(rng: Generator, size: int, cells: float, octaves: int, stretch: float = 1.0) -> np.ndarray:
    """Clouds (size, size) of several scales, each twice as fine and 0.6 times as strong as the one before."""
    return sum(0.6**o * clouds(rng, size, min(cells * 2**o, size / 2), stretch) for o in range(octaves))


def grain(rng: Generator, size: int) -> np.ndarray:
    """White noise (size, size), float32, standard deviation 1: one number per pixel."""
    return rng.standard_normal((size, size), dtype=np.float32)


def factors(rng: Generator, *spreads: float) -> np.ndarray:
    """Random factors around 1 (len(spreads),), float32, each of its relative spread."""
    return rng.lognormal(0, spreads).astype(np.float32)
