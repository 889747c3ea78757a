"""Any image file becomes 8-bit RGB; images are found and decoded in order."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ufgir.data.images import find_images, load_image
from ufgir.data.transforms import EvalTransform, decode_for_test, normalize
from ufgir.errors import UserError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def saved(tmp_path):
    """Saves an image and loads it: uint8 (H, W, 3)."""
    def through(image: Image.Image, name: str, **options) -> np.ndarray:
        image.save(tmp_path / name, **options)
        loaded = load_image(tmp_path / name)
        assert loaded.mode == "RGB"
        return np.asarray(loaded)

    return through


def test_exif_rotation_is_applied(saved):
    image = Image.new("RGB", (16, 8), RED)
    image.paste(BLUE, (8, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    pixels = saved(image, "turned.jpg", exif=exif, quality=95, subsampling=0)
    assert pixels.shape == (16, 8, 3)
    assert np.abs(pixels[2, 4].astype(int) - RED).max() < 10
    assert np.abs(pixels[13, 4].astype(int) - BLUE).max() < 10


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (10, 255), (10, 10, 10)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("P", 0, (0, 0, 0)),
    ],
)
def test_transparency_over_white_and_grey(saved, mode, pixel, expected):
    assert saved(Image.new(mode, (3, 2), pixel), "image.png")[1, 1].tolist() == list(expected)


def test_palette_with_transparency(saved):
    image = Image.new("P", (2, 1), 0)
    image.putpalette([*GREEN, *BLUE])
    image.putpixel((1, 0), 1)
    pixels = saved(image, "palette.png", transparency=0)
    assert pixels[0].tolist() == [[255, 255, 255], list(BLUE)]


def test_transparent_colour_of_a_grey_image(saved):
    image = Image.new("L", (2, 1), 9)
    image.putpixel((1, 0), 200)
    assert saved(image, "key.png", transparency=9)[0].tolist() == [[255] * 3, [200] * 3]


@pytest.mark.parametrize("name", ["deep.png", "deep.tiff"])
def test_16_bit_grey_is_scaled(saved, name):
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    assert saved(Image.fromarray(values), name)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_turned_16_bit_image(saved):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    values = np.array([[0, 65535], [0, 0]], dtype=np.uint16)
    assert saved(Image.fromarray(values), "deep.png", exif=exif)[:, :, 0].tolist() == [[0, 0], [255, 0]]


def test_32_bit_integers_within_16_bit(saved):
    assert saved(Image.fromarray(np.array([[65535, 0]], dtype=np.int32)), "wide.tiff")[0, :, 1].tolist() == [255, 0]


@pytest.mark.parametrize("values", [np.array([[70000]], dtype=np.int32), np.array([[0.5]], dtype=np.float32)])
def test_numbers_without_an_agreed_range_are_refused(saved, values):
    with pytest.raises(ValueError, match="save it with 8 or 16"):
        saved(Image.fromarray(values), "strange.tiff")


def test_cmyk(saved):
    pixels = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "print.jpg", quality=95)
    assert np.abs(pixels[4, 4].astype(int) - RED).max() < 10


def test_first_frame_of_an_animation(saved):
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, BLUE)]
    assert saved(frames[0], "film.gif", save_all=True, append_images=frames[1:])[0, 0].tolist() == list(RED)


def test_images_are_found_in_files_folders_and_patterns(tmp_path, picture, monkeypatch):
    for name in ("b/leaf10.png", "b/leaf2.PNG", "b/.hidden.png", ".cache/x.png", "a.jpg", "b/deep/1.png"):
        picture(tmp_path / name)
    (tmp_path / "b" / "notes.txt").touch()
    (tmp_path / "b" / "deep" / "loop").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert find_images(".").paths == [Path(name) for name in
                                      ("a.jpg", "b/leaf2.PNG", "b/leaf10.png", "b/deep/1.png")]
    assert find_images(["b/*.png", "b/leaf10.png", "a.jpg"]).paths == [Path("b/leaf10.png"), Path("a.jpg")]
    (tmp_path / "b" / "deep" / "loop").unlink()
    assert [path.name for path in find_images("**/*.png").paths] == ["1.png", "leaf10.png"]
    assert find_images(str(tmp_path / "a.jpg")).paths == [tmp_path / "a.jpg"]


def test_values_without_images_are_reported_together(tmp_path, picture, monkeypatch):
    picture(tmp_path / "leaf.png")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        find_images(["laef.png", "empty", "*.jpg", ""])
    close, empty, pattern, nothing = caught.value.messages
    assert "images=laef.png" in close and "Did you mean 'leaf.png'?" in close
    assert "images=empty" in empty and "images=*.jpg" in pattern and "images=:" in nothing
    with pytest.raises(UserError, match="images= is missing"):
        find_images([])


def test_images_are_decoded_in_order_with_bounded_memory(tmp_path, picture):
    paths = [picture(tmp_path / f"{number}.png", number) for number in range(30)]
    paths[7].write_text("broken")
    asked = []

    def names():
        for path in paths:
            asked.append(path)
            yield path

    results = decode_for_test(names(), 16, 12, ahead=4)
    for count, (path, pixels) in enumerate(results, start=1):
        assert path == paths[count - 1] and len(asked) <= count + 4
        assert pixels == "not an image" if path == paths[7] else torch.equal(
            normalize(pixels), EvalTransform(16, 12)(load_image(path)))
    assert count == 30
