"""Hand-made token maps, and what becomes of their pixels."""

import numpy as np
import pytest

from ufgir.pictures.paint import ATTENTION, DIM, GREY, paint_patches, paint_values
from ufgir.pictures.patches import Fate, read_patches

SIDE, GRID = 4, (2, 3)  # of a patch, pixels; rows and columns
PIXELS = np.random.default_rng(0).integers(60, 200, (8, 12, 3)).astype(np.uint8)


def fates(source: list[list[float]], from_cache: list[float] | None = None) -> tuple[list[Fate], list[Fate]]:
    """Fates of the patches and of the tokens."""
    read = read_patches(np.array(source), np.array(from_cache or [0.0] * len(source)))
    return [Fate(fate) for fate in read.fate], [Fate(fate) for fate in read.tokens]


def painted(source: list[list[float]], line: int = 1) -> list[np.ndarray]:
    """The pixels of each patch in the picture."""
    read = read_patches(np.array(source), np.zeros(len(source)))
    return parts(paint_patches(PIXELS, GRID, read, line))


def parts(picture: np.ndarray) -> list[np.ndarray]:
    rows, columns = GRID
    return [picture[r * SIDE : (r + 1) * SIDE, c * SIDE : (c + 1) * SIDE] for r in range(rows) for c in range(columns)]


def test_kept_patches_are_those_with_a_token_of_their_own():
    assert fates([[1, 0, 0], [0, 0, 1]]) == ([Fate.KEPT, Fate.DROPPED, Fate.KEPT], [Fate.KEPT, Fate.KEPT])


def test_means_are_merged_and_other_sums_fused():
    source = [[1, 0, 0, 0, 0, 0], [0, 0.75, 0.25, 0, 0, 0], [0, 0, 0, 0.2, 0.1, 0]]
    patches = [Fate.KEPT, Fate.MERGED, Fate.MERGED, Fate.FUSED, Fate.FUSED, Fate.DROPPED]
    assert fates(source) == (patches, [Fate.KEPT, Fate.MERGED, Fate.FUSED])
    shares = read_patches(np.array(source), np.zeros(3)).share
    assert shares == pytest.approx([1, 0.75, 0.25, 2 / 3, 1 / 3, 0])


def test_a_mean_that_is_alone_is_shown_by_its_weights():
    assert fates([[0.5, 0.3, 0.2]])[1] == [Fate.FUSED]
    patches = [Fate.FUSED, Fate.FUSED, Fate.DROPPED]
    assert fates([[0.5, 0.5, 0], [0, 0, 0]], [0, 1]) == (patches, [Fate.FUSED, Fate.RECOVERED])


def test_patches_spread_over_tokens_are_mixed():
    source = [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]
    assert fates(source) == ([Fate.MIXED] * 3, [Fate.MIXED] * 2)
    read = read_patches(np.array(source), np.zeros(2))
    assert read.share == pytest.approx([0.3, 0.2, 0.5]) and read.token.tolist() == [0, 0, 1]


def test_what_the_cache_returns_is_no_patch():
    source, from_cache = [[1, 0, 0], [0, 0, 0], [0, 0.5, 0]], [0, 1, 0.5]
    patches = [Fate.KEPT, Fate.MERGED, Fate.DROPPED]
    assert fates(source, from_cache) == (patches, [Fate.KEPT, Fate.RECOVERED, Fate.MERGED])


def test_a_kept_patch_may_go_into_a_sum_as_well():
    assert fates([[1, 0, 0], [0.1, 0.2, 0.1]])[0] == [Fate.KEPT, Fate.FUSED, Fate.FUSED]


def test_no_token_may_be_left():
    assert read_patches(np.zeros((0, 6)), np.zeros(0)).fate.tolist() == [Fate.DROPPED] * 6


def test_kept_pixels_are_untouched_and_dropped_ones_dark_and_grey():
    kept, *dropped = painted([[1, 0, 0, 0, 0, 0]])
    assert (kept == parts(PIXELS)[0]).all()
    for picture, pixels in zip(dropped, parts(PIXELS)[1:], strict=True):
        assert np.abs(picture - (pixels @ GREY * DIM)[..., None]).max() <= 0.5


def test_a_group_has_its_mean_colour_and_one_outline_around_all_of_it():
    source = np.zeros((3, 6))
    source[0, [0, 1]] = source[1, [2, 5]] = source[2, [3, 4]] = 0.5
    pictures, inputs = painted(source.tolist()), parts(PIXELS)
    outlines = []
    for one, other in ((0, 1), (2, 5), (3, 4)):
        mean = np.concatenate((inputs[one], inputs[other])).reshape(-1, 3).mean(axis=0)
        for patch in (one, other):
            assert np.abs(pictures[patch][1:-1, 1:-1] - mean).max() <= 0.5
        assert (pictures[one][0, 0] == pictures[other][-1, -1]).all(), "one colour around both"
        outlines.append(tuple(pictures[one][0, 0]))
    assert len(set(outlines)) == 3
    assert np.abs(pictures[0][1:-1, -1] - pictures[0][1:-1, 1]).max() == 0, "no line within a group"


def test_shares_and_attention_are_brighter_where_they_are_larger():
    small, large, none, *_ = painted([[0.1, 0.3, 0, 0, 0, 0]])
    assert small.mean() < large.mean() and (none.max(axis=-1) == none.min(axis=-1)).all()
    values = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    flat = np.full_like(PIXELS, 128)
    brightness = [part.mean() for part in parts(paint_values(flat, GRID, values, ATTENTION))]
    assert brightness == sorted(brightness)
