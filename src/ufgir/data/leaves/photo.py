"""A photograph of one leaf: its blade, how it lies, on what, under which light.

Pose, table and light vary more than the cultivars do. Images are (L, L), colours (L, L, 3) linear reflectances.
"""

import math

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from ufgir.data.leaves.cultivar import Cultivar
from ufgir.data.leaves.shape import half_lobes, network, polygon, strands

_BICUBIC = Image.Resampling.BICUBIC
_SPAN = 2.3  # side of the canvas, units of the midrib
_CENTRE = (0.0, 0.12)  # leaf coordinates of its centre
_OVERSAMPLE = 2  # of polygons
_MESH = 12  # cells along a side for the perspective

# Reflectances (RGB); _ROSY is the change of their logarithm.
_GREEN = np.array([0.22, 0.34, 0.11], np.float32)
_ROSY = np.array([1.0, -0.44, 0.62], np.float32)
_VEIN = np.array([0.37, 0.40, 0.24], np.float32)
_BROWN = np.array([0.40, 0.24, 0.10], np.float32)
_RUST = np.array([0.28, 0.17, 0.08], np.float32)
_STALK = np.array([0.45, 0.42, 0.20], np.float32)

# Tables: colour (RGB reflectance), strength of the texture, blobs across, stretch, pixel noise.
_TABLES = (
    ((0.81, 0.80, 0.78), 0.03, 3, 1.0, 0.008),  # paper
    ((0.87, 0.86, 0.82), 0.02, 1, 1.0, 0.004),  # light table
    ((0.69, 0.70, 0.74), 0.08, 60, 1.0, 0.05),  # linen
    ((0.80, 0.71, 0.60), 0.13, 26, 14.0, 0.02),  # oak
    ((0.80, 0.73, 0.62), 0.10, 18, 18.0, 0.02),  # pine
    ((0.58, 0.60, 0.62), 0.10, 8, 1.5, 0.02),  # slate
    ((0.73, 0.72, 0.71), 0.08, 12, 1.0, 0.04),  # concrete
    ((0.78, 0.72, 0.66), 0.30, 40, 1.0, 0.06),  # terrazzo
    ((0.79, 0.73, 0.64), 0.05, 30, 3.0, 0.02),  # board
)


def photograph(traits: Cultivar, size: int, inner: int, rng: Generator) -> Image.Image:
    """An RGB photograph of `size` pixels of one leaf of that cultivar, composed on a canvas of `inner` pixels.

    The leaf has its own shape, colour and blemishes, and lies somehow on some table.
    """
    blade = _blade(traits, inner, rng)
    mesh = _mesh(inner, rng)
    colour, cover, height = (
        np.asarray(Image.fromarray(layer).transform((inner, inner), Image.Transform.MESH, mesh, _BICUBIC), np.float32)
        for layer in blade
    )
    colour, cover = colour / 255, np.clip(cover, 0, 1)
    table, strength, cells, stretch, noise = _TABLES[rng.integers(len(_TABLES))]
    texture = strength * _fractal(rng, inner, cells, 3, stretch) + noise * _grain(rng, inner)
    if rng.random() < 0.5:
        texture = texture.T
    table = np.array(table, np.float32) * _factors(rng, 0.03, 0.03, 0.03) * _factors(rng, 0.15)
    scene = np.clip(1 + texture, 0.1, 2)[..., None] * table

    sun, elevation = rng.uniform(0, 2 * math.pi), rng.uniform(0.5, 1.1)
    # The leaf's shadow on the table, away from the sun.
    distance = inner * rng.uniform(0.004, 0.03)
    shift = (1, 0, distance * math.cos(sun), 0, 1, distance * math.sin(sun))
    shadow = Image.fromarray((cover * 255).astype(np.uint8)).transform((inner, inner), Image.Transform.AFFINE, shift)
    shadow = shadow.filter(ImageFilter.GaussianBlur(distance * rng.uniform(0.4, 1.0)))
    scene = scene * (1 - np.asarray(shadow, np.float32) / 255 * rng.uniform(0.25, 0.75))[..., None]
    # Parts of the blade that rise towards the sun are darker; a waxy blade reflects the sky.
    down, right = np.gradient(height * (inner / _SPAN))
    slope = right * math.cos(sun) + down * math.sin(sun)
    lit = colour * np.clip(1 - rng.uniform(0.6, 1.1) / math.tan(elevation) * slope, 0.35, 1.7)[..., None]
    facing = -slope - rng.uniform(0.0, 0.3)
    lit = lit + (rng.uniform(0.0, 0.22) * np.exp(-np.square(facing / 0.14)))[..., None]
    scene = scene + cover[..., None] * (lit - scene)

    # Uneven and coloured light, camera response, lens blur, reduction and sensor noise.
    y, x = np.mgrid[-1 : 1 : inner * 1j, -1 : 1 : inner * 1j].astype(np.float32)
    uneven = 1 + rng.normal(0, 0.08) * x + rng.normal(0, 0.08) * y - rng.uniform(0, 0.15) * (x * x + y * y)
    uneven = uneven + 0.07 * _clouds(rng, inner, 2)
    warmth = rng.normal(0, 0.05)
    light = np.exp(np.float32([warmth, rng.normal(0, 0.03), -warmth])) * _factors(rng, 0.16)
    film = np.clip(scene * uneven[..., None] * light, 0, None)
    film = (1 - np.exp(-1.6 * film)) ** 0.62 * 1.05
    image = Image.fromarray((np.clip(film, 0, 1) * 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8))).resize((size, size), _BICUBIC)
    noisy = np.asarray(image, np.float32) + rng.uniform(0.5, 4) * _grain(rng, size)[..., None]
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _blade(traits: Cultivar, size: int, rng: Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One flat leaf as an artist would draw it, seen from straight above with its tip up.

    Returns:
        colour (L, L, 3), uint8, defined outside the leaf too; the share (L, L) of each pixel that the leaf covers;
        height (L, L) in units of the midrib.
    """
    unit = size / _SPAN
    halves = half_lobes(traits, rng)
    primary, secondary = strands(halves, traits, rng)
    blade, thick, thin = (_fill(shapes, size) for shapes in ([polygon(halves)], primary, secondary))
    # The stalk lies behind the blade and is longer than the canvas shows.
    t = np.linspace(0, 1.1, 20)
    x = rng.normal(0, 0.15) * t + rng.normal(0, 0.2) * t * t
    width = 0.014 + 0.004 * t
    stalk = np.concatenate([np.stack([x - width, -t], 1), np.stack([x + width, -t], 1)[::-1]])
    stalk = _fill([stalk], size)
    # Tertiary veins, the bulge between them, and areoles, computed where the blade is.
    inside = blade > 0
    places = [axis[inside] for axis in _coordinates(size)]
    layers = np.zeros((4, size, size), np.float32)
    for layer, cell, half_width in ((0, traits.mesh_size, 0.0042), (2, 0.36 * traits.mesh_size, 0.0022)):
        border, layers[layer + 1, inside] = network(*places, cell, traits.mesh_stretch, rng)
        layers[layer, inside] = np.clip((half_width - border) * size / _SPAN + 0.5, 0, 1)
    tertiary, bulge, areoles, _ = layers

    # Along veins and margin the blade has the cultivar's tone and tint.
    along_veins = np.clip(4.5 * _blur(np.maximum(thick, 0.5 * thin), 0.05 * unit), 0, 1)[..., None]
    along_margin = np.clip(2.2 * (1 - _blur(blade, 0.09 * unit)), 0, 1)[..., None]
    shift = along_veins * (traits.vein_tone + traits.vein_blush * _ROSY)
    colour = np.exp(shift + along_margin * (traits.margin_tone + traits.margin_blush * _ROSY)) * _GREEN
    mesh = np.maximum(tertiary, 0.5 * areoles)
    pale = np.maximum(np.maximum(thick, 0.85 * thin), max(traits.mesh_tone, 0) * mesh)
    dark = max(-traits.mesh_tone, 0) * mesh
    colour = colour * (1 - 0.45 * dark)[..., None]
    colour += 0.85 * pale[..., None] * (_VEIN - 0.6 * colour)
    # The mean over the blade is drawn for each leaf: it must not tell the cultivar.
    mean = np.tensordot(blade, colour, 2) / blade.sum()
    colour = colour * (_GREEN * _factors(rng, 0.06, 0.04, 0.06) * _factors(rng, 0.12) * 1.15 / mean)
    # Unevenly lush, with withered parts on some leaves and a few dark or rusty spots.
    colour = colour * (1 + 0.06 * _fractal(rng, size, 6, 4))[..., None]
    withered = np.clip(2.2 * (_fractal(rng, size, 4, 3) - rng.uniform(2.0, 6.0)), 0, 1)[..., None]
    colour = colour + withered * (_BROWN * _factors(rng, 0.15, 0.15, 0.15) - colour)
    for _ in range(rng.poisson(4)):
        spot = np.clip(1.6 - 1.3 * _distance(size, rng) / (0.027 * _factors(rng, 0.5)), 0, 1)[..., None]
        colour = colour + 0.85 * spot * (_RUST * rng.uniform(0.5, 1.5) - colour)
    colour += ((1 - blade) * stalk)[..., None] * (_STALK * _factors(rng, 0.3, 0.15, 0.2) - colour)

    furrows = _blur(np.maximum(thick, thin), 0.012 * size / _SPAN)
    height = 0.012 * traits.blister * bulge - 0.02 * furrows + 0.035 * _fractal(rng, size, 3, 2)
    whole = np.ones((size, size), np.float32)  # but for the holes that insects ate
    for _ in range(rng.poisson(0.7)):
        ragged = _distance(size, rng) / (0.04 * _factors(rng, 0.4)) + 0.3 * _clouds(rng, size, 24)
        whole *= np.clip((ragged - 1) * 3, 0, 1)
    colour = (np.clip(colour.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    return colour, np.maximum(blade * whole, stalk), height.astype(np.float32)


def _mesh(size: int, rng: Generator) -> list[tuple]:
    """The leaf turned, bent and seen in perspective: for each cell of a grid over the photograph, the quadrilateral of
    the canvas that is seen there."""
    edges = np.linspace(-0.5, 0.5, _MESH + 1)
    x, y = np.meshgrid(edges - rng.normal(0, 0.045), edges - rng.normal(0, 0.045))
    depth = 1 + x * rng.normal(0, 0.08) + y * rng.normal(0, 0.08)
    zoom = 1.6 * rng.lognormal(0, 0.08)
    x, y = x / depth * zoom, y / depth * zoom
    turn = rng.uniform(0, 2 * math.pi)
    x, y = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
    bend = rng.normal(0, 0.06, 4)
    x, y = x + bend[0] * y * y + bend[1] * np.sin(3 * y), y + bend[2] * x * x + bend[3] * np.sin(3 * x)
    x, y = (x + _CENTRE[0]) / _SPAN + 0.5, (y + _CENTRE[1]) / _SPAN + 0.5
    nodes = np.stack([x, y], axis=-1) * size
    pixels = np.linspace(0, size, _MESH + 1).round().astype(int).tolist()
    return [
        (
            (pixels[j], pixels[i], pixels[j + 1], pixels[i + 1]),
            (*nodes[i, j], *nodes[i + 1, j], *nodes[i + 1, j + 1], *nodes[i, j + 1]),
        )
        for i, j in np.ndindex(_MESH, _MESH)
    ]


def _fill(shapes: list[np.ndarray], size: int) -> np.ndarray:
    """Cover (size, size) of polygons in leaf coordinates."""
    canvas = Image.new("L", (size * _OVERSAMPLE,) * 2)
    pen = ImageDraw.Draw(canvas)
    for shape in shapes:
        pixels = ((shape - _CENTRE) * [1, -1] / _SPAN + 0.5) * size * _OVERSAMPLE
        pen.polygon(pixels.ravel().tolist(), fill=255)
    return np.asarray(canvas.reduce(_OVERSAMPLE), dtype=np.float32) / 255


def _blur(field: np.ndarray, radius: float) -> np.ndarray:
    """A field in [0, 1], blurred by a Gaussian of that radius in pixels."""
    image = Image.fromarray((field * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32) / 255


def _coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Leaf coordinates x (size, size) and y (size, size) of the canvas pixels' centres, float32."""
    steps = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) * _SPAN
    return np.meshgrid(steps + _CENTRE[0], _CENTRE[1] - steps)


def _distance(size: int, rng: Generator) -> np.ndarray:
    """Distance (size, size) of each pixel from a random place on the blade, in units of the midrib."""
    x, y = _coordinates(size)
    place = rng.uniform(-0.75, 0.85, 2).astype(np.float32)
    return np.hypot(x - place[0], y - place[1])


def _clouds(rng: Generator, size: int, cells: float, stretch: float = 1.0) -> np.ndarray:
    """A smooth random field (size, size), float32: `cells` blobs across, `stretch` times as long vertically."""
    columns, rows = max(1, round(cells)), max(1, round(cells / stretch))
    seeds = Image.fromarray(rng.standard_normal((rows + 3, columns + 3)).astype(np.float32))
    # The outer ring only supports the interpolation, so that blobs at the border look like those inside.
    return np.asarray(seeds.resize((size, size), _BICUBIC, box=(1, 1, columns + 2, rows + 2)))


def _fractal(rng: Generator, size: int, cells: float, octaves: int, stretch: float = 1.0) -> np.ndarray:
    """Clouds (size, size) of several scales, each twice as fine and 0.6 times as strong as the one before."""
    return sum(0.6**o * _clouds(rng, size, min(cells * 2**o, size / 2), stretch) for o in range(octaves))


def _grain(rng: Generator, size: int) -> np.ndarray:
    """White noise (size, size), float32, standard deviation 1: one number per pixel."""
    return rng.standard_normal((size, size), dtype=np.float32)


def _factors(rng: Generator, *spreads: float) -> np.ndarray:
    """Random factors around 1 (len(spreads),), float32, each of its relative spread."""
    return rng.lognormal(0, spreads).astype(np.float32)
