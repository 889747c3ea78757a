"""A photograph of one leaf: how it lies, on what, under which light. All of this varies more than the cultivars do."""

import math

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from ufgir.data.leaves.paint import BICUBIC, CENTRE, SPAN, FlatLeaf, clouds, factors, fractal, grain

_MESH = 12

# Tables: colour (RGB reflectance), strength of the texture, blobs across, stretch, pixel noise.
_TABLES = {
    "paper": ((0.81, 0.80, 0.78), 0.03, 3, 1.0, 0.008),
    "light table": ((0.87, 0.86, 0.82), 0.02, 1, 1.0, 0.004),
    "linen": ((0.69, 0.70, 0.74), 0.08, 60, 1.0, 0.05),
    "oak": ((0.80, 0.71, 0.60), 0.13, 26, 14.0, 0.02),
    "pine": ((0.80, 0.73, 0.62), 0.10, 18, 18.0, 0.02),
    "slate": ((0.58, 0.60, 0.62), 0.10, 8, 1.5, 0.02),
    "concrete": ((0.73, 0.72, 0.71), 0.08, 12, 1.0, 0.04),
    "terrazzo": ((0.78, 0.72, 0.66), 0.30, 40, 1.0, 0.06),
    "board": ((0.79, 0.73, 0.64), 0.05, 30, 3.0, 0.02),
}


def photograph(leaf: FlatLeaf, size: int, rng: Generator) -> Image.Image:
    """An RGB photograph of `size` pixels of a leaf that lies somehow on some table."""
    inner = len(leaf.cover)
    colour, cover, height = _lay(leaf, rng)
    scene = _table(inner, rng)
    sun, elevation = rng.uniform(0, 2 * math.pi), rng.uniform(0.5, 1.1)
    scene = scene * (1 - _shadow(cover, sun, rng))[..., None]
    lit = colour * _shading(height, sun, elevation, rng)[..., None]
    lit = lit + _gloss(height, sun, rng)[..., None]
    scene = scene + cover[..., None] * (lit - scene)
    return _expose(scene, size, rng)


def _lay(leaf: FlatLeaf, rng: Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour, cover and height after the leaf was turned, bent and looked at in perspective."""
    size = len(leaf.cover)
    mesh = _mesh(size, rng)
    layers = [Image.fromarray((np.clip(leaf.colour, 0, 1) * 255).astype(np.uint8)),
              Image.fromarray(leaf.cover), Image.fromarray(leaf.height)]
    colour, cover, height = (np.asarray(layer.transform((size, size), Image.Transform.MESH, mesh, BICUBIC), np.float32)
                             for layer in layers)
    return colour / 255, np.clip(cover, 0, 1), height


def _mesh(size: int, rng: Generator) -> list[tuple]:
    """For each cell of a grid over the photograph, the quadrilateral of the canvas that is seen there."""
    edges = np.linspace(-0.5, 0.5, _MESH + 1)
    x, y = np.meshgrid(edges - rng.normal(0, 0.045), edges - rng.normal(0, 0.045))
    depth = 1 + x * rng.normal(0, 0.08) + y * rng.normal(0, 0.08)
    zoom = 1.6 * rng.lognormal(0, 0.08)
    x, y = x / depth * zoom, y / depth * zoom
    turn = rng.uniform(0, 2 * math.pi)
    x, y = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
    bend = rng.normal(0, 0.06, 4)
    x, y = x + bend[0] * y * y + bend[1] * np.sin(3 * y), y + bend[2] * x * x + bend[3] * np.sin(3 * x)
    x, y = (x + CENTRE[0]) / SPAN + 0.5, (y + CENTRE[1]) / SPAN + 0.5
    nodes = np.stack([x, y], axis=-1) * size
    pixels = np.linspace(0, size, _MESH + 1).round().astype(int).tolist()
    return [((pixels[j], pixels[i], pixels[j + 1], pixels[i + 1]),
             (*nodes[i, j], *nodes[i + 1, j], *nodes[i + 1, j + 1], *nodes[i, j + 1]))
            for i, j in np.ndindex(_MESH, _MESH)]


def _table(size: int, rng: Generator) -> np.ndarray:
    """The surface under the leaf (size, size, 3)."""
    colour, strength, cells, stretch, noise = list(_TABLES.values())[rng.integers(len(_TABLES))]
    texture = strength * fractal(rng, size, cells, 3, stretch) + noise * grain(rng, size)
    if rng.random() < 0.5:
        texture = texture.T
    colour = np.array(colour, np.float32) * factors(rng, 0.03, 0.03, 0.03) * factors(rng, 0.15)
    return np.clip(1 + texture, 0.1, 2)[..., None] * colour


def _shadow(cover: np.ndarray, sun: float, rng: Generator) -> np.ndarray:
    """Share of the light (size, size) that the leaf takes from the table, away from the sun."""
    size = len(cover)
    distance = size * rng.uniform(0.004, 0.03)
    shift = (1, 0, distance * math.cos(sun), 0, 1, distance * math.sin(sun))
    image = Image.fromarray((cover * 255).astype(np.uint8)).transform((size, size), Image.Transform.AFFINE, shift)
    blurred = image.filter(ImageFilter.GaussianBlur(distance * rng.uniform(0.4, 1.0)))
    return np.asarray(blurred, np.float32) / 255 * rng.uniform(0.25, 0.75)


def _slope(height: np.ndarray, sun: float) -> np.ndarray:
    """Rise of the blade towards the sun (size, size)."""
    scale = len(height) / SPAN
    down, right = np.gradient(height * scale)
    return right * math.cos(sun) + down * math.sin(sun)


def _shading(height: np.ndarray, sun: float, elevation: float, rng: Generator) -> np.ndarray:
    """Light on the blade (size, size), about 1: slopes that face the sun are brighter."""
    return np.clip(1 - rng.uniform(0.6, 1.1) / math.tan(elevation) * _slope(height, sun), 0.35, 1.7)


def _gloss(height: np.ndarray, sun: float, rng: Generator) -> np.ndarray:
    """Reflection of the sky on a waxy blade (size, size)."""
    facing = -_slope(height, sun) - rng.uniform(0.0, 0.3)
    return rng.uniform(0.0, 0.22) * np.exp(-np.square(facing / 0.14))


def _expose(scene: np.ndarray, size: int, rng: Generator) -> Image.Image:
    """Light of uneven strength and some colour on the scene, camera response, lens blur, reduction and sensor noise."""
    inner = len(scene)
    y, x = np.mgrid[-1 : 1 : inner * 1j, -1 : 1 : inner * 1j].astype(np.float32)
    uneven = 1 + rng.normal(0, 0.08) * x + rng.normal(0, 0.08) * y - rng.uniform(0, 0.15) * (x * x + y * y)
    uneven = uneven + 0.07 * clouds(rng, inner, 2)
    warmth = rng.normal(0, 0.05)
    light = np.exp(np.float32([warmth, rng.normal(0, 0.03), -warmth])) * factors(rng, 0.16)
    film = np.clip(scene * uneven[..., None] * light, 0, None)
    film = (1 - np.exp(-1.6 * film)) ** 0.62 * 1.05
    image = Image.fromarray((np.clip(film, 0, 1) * 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8))).resize((size, size), BICUBIC)
    noisy = np.asarray(image, np.float32) + rng.uniform(0.5, 4) * grain(rng, size)[..., None]
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
