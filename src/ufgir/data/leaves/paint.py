"""One flat leaf as an artist would draw it: colour, cover and height of the blade, seen from straight above."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from ufgir.data.leaves.cultivar import Cultivar
from ufgir.data.leaves.noise import clouds, fractal
from ufgir.data.leaves.outline import half_lobes, polygon
from ufgir.data.leaves.veins import network, strands

SPAN = 2.3                    # side of the canvas, units of the midrib
CENTRE = (0.0, 0.12)          # leaf coordinates of its centre
_OVERSAMPLE = 2


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
    relief = _blur(np.maximum(thick, thin), 0.012 * size / SPAN)
    height = 0.012 * traits.blister * bulge - 0.02 * relief + 0.035 * fractal(rng, size, 3, 2)
    pale = np.maximum(np.maximum(thick, 0.85 * thin), max(traits.mesh_tone, 0) * tertiary)
    dark = np.clip(-traits.mesh_tone, 0, 1) * np.maximum(tertiary, 0.5 * areoles)
    along_veins = np.clip(4.5 * _blur(np.maximum(thick, 0.5 * thin), 0.05 * size / SPAN), 0, 1)
    along_margin = np.clip(2.2 * (1 - _blur(blade, 0.09 * size / SPAN)), 0, 1)
    tone, blush = (a * _centred(along_veins, blade) + b * _centred(along_margin, blade) for a, b in
                   ((traits.vein_tone, traits.margin_tone), (traits.vein_blush, traits.margin_blush)))
    colour = _tint(tone, blush, pale, dark * (1 - pale), rng)
    colour = _blemish(colour, rng)
    colour += stalk[..., None] * (1 - blade[..., None]) * (_stalk_colour(rng) - colour)
    return FlatLeaf(colour.astype(np.float32), np.maximum(blade * _holes(size, rng), stalk), height.astype(np.float32))


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
    t = np.linspace(0, 1, 20)
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


def _centred(zone: np.ndarray, blade: np.ndarray) -> np.ndarray:
    """The zone minus its mean over the blade, so that painting by it leaves the mean colour."""
    return zone - (zone * blade).sum() / blade.sum()


def _tint(tone, blush, pale: np.ndarray, dark: np.ndarray, rng: Generator) -> np.ndarray:
    """Blade colour (L, L, 3): green, here and there withered; pale veins on it, dark ones and paler ground beside the former."""
    size = len(pale)
    green = np.array([0.22, 0.34, 0.11]) * rng.lognormal(0, [0.12, 0.08, 0.12]) * rng.lognormal(0, 0.12)
    brown = np.array([0.40, 0.24, 0.10]) * rng.lognormal(0, 0.15, 3)
    withered = np.clip(2.2 * (fractal(rng, size, 4, 3) - rng.uniform(1.5, 5)), 0, 1)[..., None]
    colour = green * np.exp(tone[..., None] * 1.0 + blush[..., None] * np.array([0.8, -0.35, 0.5]))
    colour = colour * (1 - withered) + brown * withered
    colour = colour * (1 + 0.06 * fractal(rng, size, 6, 4) - 0.45 * dark)[..., None]
    vein = 0.4 * colour + 0.6 * np.array([0.62, 0.66, 0.4]) * rng.lognormal(0, 0.05, 3)
    return colour + (0.85 * pale)[..., None] * (vein - colour)


def _blemish(colour: np.ndarray, rng: Generator) -> np.ndarray:
    """The same colour with a few dark or rusty spots."""
    x, y = coordinates(len(colour))
    for _ in range(rng.poisson(4)):
        radius = rng.lognormal(-3.6, 0.5)
        place = rng.uniform(-0.75, 0.85, 2)
        distance = np.hypot(x - place[0], (y - place[1]) * rng.uniform(0.7, 1.4)) / radius
        spot = np.clip(1.6 - 1.3 * distance, 0, 1)[..., None]
        colour = colour + 0.85 * spot * (np.array([0.28, 0.17, 0.08]) * rng.uniform(0.5, 1.5) - colour)
    return colour


def _holes(size: int, rng: Generator) -> np.ndarray:
    """1 where the blade is whole, 0 in the holes that insects ate."""
    whole = np.ones((size, size), np.float32)
    x, y = coordinates(size)
    for _ in range(rng.poisson(0.7)):
        place = rng.uniform(-0.7, 0.8, 2)
        wobble = 0.3 * clouds(rng, size, 24)
        distance = np.hypot(x - place[0], y - place[1]) / rng.lognormal(-3.2, 0.4) + wobble
        whole *= np.clip((distance - 1) * 3, 0, 1)
    return whole


def _stalk_colour(rng: Generator) -> np.ndarray:
    return np.array([0.45, 0.42, 0.2]) * rng.lognormal(0, [0.3, 0.15, 0.2])
