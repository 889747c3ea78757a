"""One flat leaf as an artist would draw it: colour, cover and height of the blade, seen from straight above."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from ufgir.data.leaves.cultivar import Cultivar
from ufgir.data.leaves.shape import half_lobes, network, polygon, strands

BICUBIC = Image.Resampling.BICUBIC
SPAN = 2.3                    # side of the canvas, units of the midrib
CENTRE = (0.0, 0.12)          # leaf coordinates of its centre
_OVERSAMPLE = 2

# Reflectances (RGB); _ROSY is the change of their logarithm.
_GREEN = np.array([0.22, 0.34, 0.11], np.float32)
_ROSY = np.array([1.0, -0.44, 0.62], np.float32)
_VEIN = np.array([0.37, 0.40, 0.24], np.float32)
_BROWN = np.array([0.40, 0.24, 0.10], np.float32)
_RUST = np.array([0.28, 0.17, 0.08], np.float32)
_STALK = np.array([0.45, 0.42, 0.20], np.float32)


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


@dataclass(frozen=True)
class FlatLeaf:
    """A drawn leaf on a canvas of (L, L) pixels; row 0 is the top, the tip points up.

    Args:
        colour: (L, L, 3) reflectance in [0, 1], defined outside the leaf too.
        cover: (L, L) share of the pixel that the leaf covers.
        height: (L, L) elevation in units of the midrib.
    """

    colour: np.ndarray
    cover: np.ndarray
    height: np.ndarray


def draw(traits: Cultivar, size: int, rng: Generator) -> FlatLeaf:
    """One leaf of that cultivar on a canvas of `size` pixels: its own shape, colour and blemishes."""
    halves = half_lobes(traits, rng)
    primary, secondary = strands(halves, traits, rng)
    blade = _fill([polygon(halves)], size)
    thick, thin = _fill(primary, size), _fill(secondary, size)
    stalk = _fill([_petiole(rng)], size)
    tertiary, areoles, bulge = _networks(traits, blade, rng)
    mesh = np.maximum(tertiary, 0.5 * areoles)
    pale = np.maximum(np.maximum(thick, 0.85 * thin), max(traits.mesh_tone, 0) * mesh)
    dark = max(-traits.mesh_tone, 0) * mesh
    colour = _pattern(traits, blade, np.maximum(thick, 0.5 * thin)) * (1 - 0.45 * dark)[..., None]
    colour += 0.85 * pale[..., None] * (_VEIN - 0.6 * colour)
    colour = _weather(_evened(colour, blade, rng), rng)
    colour += ((1 - blade) * stalk)[..., None] * (_STALK * factors(rng, 0.3, 0.15, 0.2) - colour)
    furrows = _blur(np.maximum(thick, thin), 0.012 * size / SPAN)
    height = 0.012 * traits.blister * bulge - 0.02 * furrows + 0.035 * fractal(rng, size, 3, 2)
    cover = np.maximum(blade * _holes(size, rng), stalk)
    return FlatLeaf(colour.astype(np.float32), cover, height.astype(np.float32))


def coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Leaf coordinates x (size, size) and y (size, size) of the canvas pixels' centres, float32."""
    steps = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) * SPAN
    return np.meshgrid(steps + CENTRE[0], CENTRE[1] - steps)


def _fill(shapes: list[np.ndarray], size: int) -> np.ndarray:
    """Cover (size, size) of polygons in leaf coordinates."""
    canvas = Image.new("L", (size * _OVERSAMPLE,) * 2)
    pen = ImageDraw.Draw(canvas)
    for shape in shapes:
        pixels = ((shape - CENTRE) * [1, -1] / SPAN + 0.5) * size * _OVERSAMPLE
        pen.polygon(pixels.ravel().tolist(), fill=255)
    return np.asarray(canvas.reduce(_OVERSAMPLE), dtype=np.float32) / 255


def _blur(field: np.ndarray, radius: float) -> np.ndarray:
    """A field in [0, 1], blurred by a Gaussian of that radius in pixels."""
    image = Image.fromarray((field * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32) / 255


def _petiole(rng: Generator) -> np.ndarray:
    """The stalk as a polygon (2K, 2), behind the blade and longer than the canvas shows."""
    t = np.linspace(0, 1.1, 20)
    x = rng.normal(0, 0.15) * t + rng.normal(0, 0.2) * t * t
    width = 0.014 + 0.004 * t
    return np.concatenate([np.stack([x - width, -t], 1), np.stack([x + width, -t], 1)[::-1]])


def _networks(traits: Cultivar, blade: np.ndarray, rng: Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tertiary veins, areoles and the bulge between the former, each (L, L), computed where the blade is."""
    size = len(blade)
    inside = blade > 0
    x, y = (axis[inside] for axis in coordinates(size))
    layers = []
    for cell, half_width in ((traits.mesh_size, 0.0042), (0.36 * traits.mesh_size, 0.0022)):
        border, bulge = network(x, y, cell, traits.mesh_stretch, rng)
        layers += [np.clip((half_width - border) * size / SPAN + 0.5, 0, 1), bulge]
    full = np.zeros((4, size, size), np.float32)
    full[:, inside] = layers
    return full[0], full[2], full[1]


def _pattern(traits: Cultivar, blade: np.ndarray, veins: np.ndarray) -> np.ndarray:
    """Colour (L, L, 3) of the blade: along veins and margin it has the cultivar's tone and tint."""
    unit = len(blade) / SPAN
    along_veins = np.clip(4.5 * _blur(veins, 0.05 * unit), 0, 1)[..., None]
    along_margin = np.clip(2.2 * (1 - _blur(blade, 0.09 * unit)), 0, 1)[..., None]
    shift = along_veins * (traits.vein_tone + traits.vein_blush * _ROSY)
    return np.exp(shift + along_margin * (traits.margin_tone + traits.margin_blush * _ROSY)) * _GREEN


def _evened(colour: np.ndarray, blade: np.ndarray, rng: Generator) -> np.ndarray:
    """The same colours scaled to a mean over the blade that is drawn for each leaf: it must not tell the cultivar."""
    mean = np.tensordot(blade, colour, 2) / blade.sum()
    return colour * (_GREEN * factors(rng, 0.06, 0.04, 0.06) * factors(rng, 0.12) * 1.15 / mean)


def _weather(colour: np.ndarray, rng: Generator) -> np.ndarray:
    """The same colour (L, L, 3) unevenly lush, with withered parts on some leaves and a few dark or rusty spots."""
    size = len(colour)
    colour = colour * (1 + 0.06 * fractal(rng, size, 6, 4))[..., None]
    withered = np.clip(2.2 * (fractal(rng, size, 4, 3) - rng.uniform(2.0, 6.0)), 0, 1)[..., None]
    colour = colour + withered * (_BROWN * factors(rng, 0.15, 0.15, 0.15) - colour)
    for _ in range(rng.poisson(4)):
        spot = np.clip(1.6 - 1.3 * _distance(size, rng) / (0.027 * factors(rng, 0.5)), 0, 1)[..., None]
        colour = colour + 0.85 * spot * (_RUST * rng.uniform(0.5, 1.5) - colour)
    return colour


def _distance(size: int, rng: Generator) -> np.ndarray:
    """Distance (size, size) of each pixel from a random place on the blade, in units of the midrib."""
    x, y = coordinates(size)
    place = rng.uniform(-0.75, 0.85, 2).astype(np.float32)
    return np.hypot(x - place[0], y - place[1])


def _holes(size: int, rng: Generator) -> np.ndarray:
    """1 where the blade is whole, 0 in the holes that insects ate (size, size)."""
    whole = np.ones((size, size), np.float32)
    for _ in range(rng.poisson(0.7)):
        ragged = _distance(size, rng) / (0.04 * factors(rng, 0.4)) + 0.3 * clouds(rng, size, 24)
        whole *= np.clip((ragged - 1) * 3, 0, 1)
    return whole
