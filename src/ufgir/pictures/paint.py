"""Patches painted on the image: pixels in, pixels out."""

import colorsys

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, ListedColormap
from PIL import Image

from ufgir.pictures.patches import Fate, PatchMap

DIM = 0.25  # brightness that is left of a dropped patch, which also loses its colour
ATTENTION = colormaps["inferno"]
SHARE = ListedColormap(colormaps["Blues_r"](np.linspace(0, 0.5, 256)), "share")  # a veil: what is kept stays brighter
OPACITY, UNDER = 0.75, 0.7  # of the colours of a value, and brightness of the grey image under them
GREY = np.array([0.299, 0.587, 0.114])  # luma of red, green and blue
GOLDEN = 0.618034  # of the colour circle: hues of neighbours are far from each other


def enlarged(pixels: np.ndarray, factor: int) -> np.ndarray:
    """An image (S, S, 3) a whole number of times as large, so that patches keep their borders."""
    side = (pixels.shape[1] * factor, pixels.shape[0] * factor)
    return np.asarray(Image.fromarray(pixels).resize(side, Image.Resampling.BICUBIC)) if factor > 1 else pixels


def paint_patches(pixels: np.ndarray, grid: tuple[int, int], patches: PatchMap, line: int) -> np.ndarray:
    """Kept patches as they are, dropped ones dimmed, merged ones as outlined groups, the rest by their share.

    Args:
        pixels: of the image (H, W, 3), uint8.
        grid: rows and columns of patches.
        patches: what became of them.
        line: thickness of the outlines, pixels.
    """
    fate, token = _on_pixels(pixels, grid, patches.fate), _on_pixels(pixels, grid, patches.token)
    picture = pixels.astype(float)
    picture[fate == Fate.DROPPED] = _dimmed(pixels)[fate == Fate.DROPPED]
    by_share = (patches.fate == Fate.FUSED) | (patches.fate == Fate.MIXED)
    if by_share.any():
        heat = paint_values(pixels, grid, np.where(by_share, patches.share, 0), SHARE)
        shown = _on_pixels(pixels, grid, by_share)
        picture[shown] = heat[shown]
    share = _on_pixels(pixels, grid, patches.share)
    groups, first = np.unique(np.where(patches.fate == Fate.MERGED, patches.token, -1), return_index=True)
    for group, patch in zip(groups, first, strict=True):
        if group >= 0:
            inside = token == group
            picture[inside] = np.average(pixels[inside], axis=0, weights=share[inside])
            picture[inside & _border(inside, line)] = _colour(int(patch))
    return picture.round().astype(np.uint8)


def paint_values(pixels: np.ndarray, grid: tuple[int, int], values: np.ndarray, colours: Colormap) -> np.ndarray:
    """An image (H, W, 3) under the colour of a value of each patch (P,), 0 to the largest; where it is 0, dimmed."""
    dimmed, top = _dimmed(pixels), max(values.max(), 1e-12)
    veil = colours(_on_pixels(pixels, grid, values / top))[..., :3] * 255
    veiled = (1 - OPACITY) * UNDER * dimmed / DIM + OPACITY * veil
    shown = _on_pixels(pixels, grid, values > 0)
    return np.where(shown[..., None], veiled, dimmed).round().astype(np.uint8)


def _dimmed(pixels: np.ndarray) -> np.ndarray:
    return np.repeat((pixels @ GREY * DIM)[..., None], 3, axis=2)


def _on_pixels(pixels: np.ndarray, grid: tuple[int, int], values: np.ndarray) -> np.ndarray:
    """A value of each patch (P,) as one of each pixel (H, W)."""
    height, width = pixels.shape[0] // grid[0], pixels.shape[1] // grid[1]
    return values.reshape(grid).repeat(height, axis=0).repeat(width, axis=1)


def _border(inside: np.ndarray, line: int) -> np.ndarray:
    """The pixels of a region (H, W) that are at most `line` pixels from what is not in it, straight or diagonally."""
    height, width = inside.shape
    padded = np.pad(inside, line)  # the edge of the image is an edge of the group
    steps = (-line, 0, line)
    shifted = [padded[line + y : line + y + height, line + x : line + x + width] for y in steps for x in steps]
    return ~np.logical_and.reduce(shifted)


def _colour(patch: int) -> np.ndarray:
    """A colour for the group whose first patch this is, so that a group has the same one at most stages."""
    return np.array(colorsys.hsv_to_rgb(patch * GOLDEN % 1, 0.8, (1.0, 0.75)[patch % 2])) * 255
