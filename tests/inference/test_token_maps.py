"""Pictures of tokens: what is painted, `python -m ufgir.visualize`, and the callback of a run."""

import io
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from packaging.version import Version
from PIL import Image

import ufgir
from tiny import make_data, train
from ufgir.data.images import load_image
from ufgir.errors import UfgirWarning
from ufgir.inference.token_maps import (
    ATTENTION,
    GAP,
    GREY,
    OUTLINE,
    TokenPictures,
    draw_trace,
    group_colors,
    paint_patches,
    paint_values,
)
from ufgir.inference.token_trace import PatchMap, PatchState, read_patches, trace_tokens

SIDE, GRID = 6, (2, 3)  # of a patch, pixels; rows and columns
PIXELS = np.random.default_rng(0).integers(60, 200, (12, 18, 3)).astype(np.uint8)


def parts(picture: np.ndarray) -> list[np.ndarray]:
    """The pixels of each patch."""
    rows, columns = GRID
    return [picture[r * SIDE : (r + 1) * SIDE, c * SIDE : (c + 1) * SIDE] for r in range(rows) for c in range(columns)]


def painted(source) -> list[np.ndarray]:
    read = read_patches(np.array(source), np.zeros(len(source)))
    return parts(paint_patches(PIXELS, GRID, read, group_colors([read], GRID)[0], 1))


def test_kept_patches_are_untouched_within_an_outline_and_dropped_ones_dark_and_grey():
    first, second, *dropped = painted([[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]])
    assert (first[1:-1, 1:] == parts(PIXELS)[0][1:-1, 1:]).all(), "no line between two kept patches"
    assert (first[0] == OUTLINE).all() and (second[:, -1] == OUTLINE).all()
    for picture, pixels in zip(dropped, parts(PIXELS)[2:], strict=True):
        assert (picture.max(axis=-1) == picture.min(axis=-1)).all() and picture.mean() < 0.3 * pixels.mean()


def test_fused_patches_are_darker_than_kept_ones_and_lighter_with_their_share():
    kept, small, large, *_ = painted([[1, 0, 0, 0, 0, 0], [0, 0.1, 0.3, 0, 0, 0]])
    assert small.mean() < large.mean() < kept.mean()


def test_a_group_has_one_colour_and_one_outline_around_all_of_it():
    source = np.zeros((3, 6))
    source[0, [0, 1]] = source[1, [2, 5]] = source[2, [3, 4]] = 0.5
    pictures, outlines = painted(source), []
    for one, other in ((0, 1), (2, 5), (3, 4)):
        assert (pictures[one][0, 0] == pictures[other][-1, -1]).all(), "one colour around both"
        outlines.append(tuple(pictures[one][0, 0]))
    assert len(set(outlines)) == 3
    assert not (pictures[0][2, -1] == pictures[0][0, 0]).all(), "no line within a group"


def test_groups_can_be_told_apart_and_keep_their_colours():
    grid, state = (14, 14), np.full(196, PatchState.MERGED)
    pairs = PatchMap(state, np.random.default_rng(0).permutation(196) // 2, np.full(196, 0.5), np.zeros(98))
    halves = PatchMap(state, pairs.token // 49, np.full(196, 0.01), np.zeros(2))
    first, second = group_colors([pairs, halves], grid)
    assert len({tuple(first[pairs.token == token][0]) for token in range(98)}) == 98
    for token in range(2):
        (colors,) = np.unique(second[halves.token == token], axis=0)
        assert (first[halves.token == token] == colors).all(axis=1).any(), "that of a group in it"


def test_attention_is_brighter_where_it_is_larger():
    values, flat = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5]), np.full_like(PIXELS, 128)
    brightness = [part @ GREY for part in parts(paint_values(flat, GRID, values, ATTENTION))]
    assert [part.mean() for part in brightness] == sorted(part.mean() for part in brightness)


@pytest.mark.skipif(Version(matplotlib.__version__) < Version("3.11"), reason="3.10 puts some panels a pixel off")
@pytest.mark.parametrize("layers", [[3], [2, 3, 5, 6, 8, 9]])
def test_the_panels_of_a_figure_are_the_pixels_of_the_image(layers):
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 32, 32)).astype(np.uint8))
    options = dict(num_classes=3, img_size=32, reducer="tome", keep_rate=0.5, reduction_layers=layers)
    model = ufgir.create_model("micro", **options)
    figure = draw_trace(trace_tokens(model, pixels, rollout=True), ("kind_$1/a_$b.png", "c" * 999, "d"))
    with Image.open(io.BytesIO(figure)) as picture:
        shown, large = np.asarray(picture.convert("RGB")), 12 * 32
    expected = Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize((large, large), Image.Resampling.BICUBIC)
    expected = np.asarray(expected)
    rows = [top for top in range(len(shown) - large) if (shown[top, GAP : GAP + large] == expected[0]).all()]
    assert len(rows) == 1 and (shown[rows[0] : rows[0] + large, GAP : GAP + large] == expected).all()


@pytest.fixture
def draw(here, run_ufgir):
    """Runs the command: exit code, and what it printed on both streams."""
    return partial(run_ufgir, "visualize", "run=run")


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_run_ends_with_pictures_of_test_images_as_the_command_draws_them(draw):
    assert names("run/tokens") == [f"{number}-test_0.png" for number in (1, 2, 3, 4)]
    code, printed, _ = draw("images=da,ta (1)/images/kind_2/test_0.png", "out=agai,n (1)")
    assert code == 0 and printed.endswith("pictures: agai,n (1)\n")
    with Image.open("agai,n (1)/1-test_0.png") as again, Image.open("run/tokens/3-test_0.png") as in_run:
        assert again.size == in_run.size == (5 * (384 + GAP) + GAP, 706)
        assert (np.asarray(again)[100:] == np.asarray(in_run)[100:]).all(), "all but the heading"


def test_a_pattern_a_folder_and_rollout(draw):
    arguments = ("images=da,ta (1)/images/kind_*/test_0.png", "images=da,ta (1)/images/kind_1")
    code, printed, _ = draw(*arguments, "out=many", "limit=4", "rollout=true")  # 4 images and 6, one of them the same
    assert code == 0 and "4 of the 9 images" in printed and "limit=9" in printed
    assert names("many") == [f"{name}.png" for name in ("1-test_0", "2-test_0", "3-test_1", "4-train_1")]
    assert load_image(Path("many/3-test_1.png")).width == 6 * (384 + GAP) + GAP


def test_images_that_cannot_be_read_and_mistakes(draw, here):
    Path("broken.png").write_text("no image")
    code, _, told = draw("images=broken.png", "images=da,ta (1)/images/kind_0/val_0.png", "out=some")
    assert code == 3 and told.startswith("skipped: broken.png (") and names("some") == ["2-val_0.png"]
    before = names(".")
    for arguments, part in (
        (("images=broken.png", "out=none"), "broken.png"),
        (("images=nowhere/*.png",), "images=nowhere/*.png"),
        ((), "images: missing"),
        (("images=broken.png", "limit=0"), "limit=0"),
        (("images=broken.png", "out=a/b"), "out=a/b"),
        (("images=broken.png", "oout=x"), "Did you mean 'out'"),
        (("images=broken.png", "checkpoint=x"), "run=DIR"),
    ):
        code, printed, told = draw(*arguments)
        assert code == 2 and printed == "" and part in told, told
    assert names(".") == before


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_in_any_precision_is_drawn(dtype):
    options = dict(num_classes=3, img_size=32, reducer="evit", keep_rate=0.5, cache=True)
    model = ufgir.create_model("micro", **options).to(dtype)
    trace = trace_tokens(model, torch.zeros(3, 32, 32, dtype=torch.uint8), rollout=True)
    assert draw_trace(trace, ("a", "b", "c")).startswith(b"\x89PNG") and len(trace.stages) == 3


def test_a_holdout_run_draws_test_images_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_data(Path("data"))
    _, folder = train("callbacks=tokens", "protocol=holdout", "trainer.max_epochs=1")
    assert names(folder / "tokens") == [f"{number}-test_0.png" for number in (1, 2, 3, 4)]


def test_a_run_is_not_lost_for_a_picture(tmp_path):
    trainer = SimpleNamespace(is_global_zero=True, datamodule=object(), loggers=[], validating=False)
    module = SimpleNamespace(model=torch.nn.Linear(1, 1))
    with pytest.warns(UfgirWarning, match="callbacks.tokens"):
        TokenPictures(folder=str(tmp_path)).on_test_end(trainer, module)
    TokenPictures(folder=str(tmp_path)).on_validation_end(trainer, module)  # within a training: nothing
    assert names(str(tmp_path)) == []
