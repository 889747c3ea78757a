"""Any image file becomes 8-bit RGB; images are found and decoded in order."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ufgir.data.images import find_images, load_image
from ufgir.data.transforms import EvalTransform, decode_for_test, normalize
from ufgir.errors import UserError

RED, GREEN, BLUE, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]


@pytest.fixture
def saved(tmp_path):
    """Saves an image and loads it: uint8 (H, W, 3)."""

    def through(image: Image.Image, name: str, **options) -> np.ndarray:
        image.save(tmp_path / name, **options)
        loaded = load_image(tmp_path / name)
        assert loaded.mode == "RGB"
        return np.asarray(loaded)

    return through


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), WHITE),
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (0, 0, 0, 51), [204, 204, 204]),
        ("LA", (0, 0), WHITE),
        ("LA", (10, 255), [10, 10, 10]),
        ("L", 77, [77, 77, 77]),
        ("1", 1, WHITE),
        ("P", 0, [0, 0, 0]),
    ],
)
def test_transparency_over_white_and_grey(saved, mode, pixel, expected):
    assert saved(Image.new(mode, (3, 2), pixel), "image.png")[1, 1].tolist() == expected


def test_transparent_colour_of_palette_and_grey(saved):
    palette, grey = Image.new("P", (2, 1), 0), Image.new("L", (2, 1), 9)
    palette.putpalette([*GREEN, *BLUE])
    palette.putpixel((1, 0), 1)
    grey.putpixel((1, 0), 200)
    assert saved(palette, "palette.png", transparency=0)[0].tolist() == [WHITE, BLUE]
    assert saved(grey, "key.png", transparency=9)[0].tolist() == [WHITE, [200] * 3]


def test_16_bit_grey_is_scaled(saved):
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    for name in ("deep.png", "deep.tiff"):
        assert saved(Image.fromarray(values), name)[0, :, 0].tolist() == [0, 1, 128, 255]
    assert saved(Image.fromarray(values), "deep.png", exif=turned(3))[0, :, 0].tolist() == [255, 128, 1, 0]
    assert saved(Image.fromarray(values.astype(np.int32)), "wide.tiff")[0, :, 1].tolist() == [0, 1, 128, 255]
    for strange in (np.array([[70000]], dtype=np.int32), np.array([[0.5]], dtype=np.float32)):
        with pytest.raises(ValueError, match="save it with 8 or 16"):
            saved(Image.fromarray(strange), "strange.tiff")


def test_exif_rotation_cmyk_and_animations(saved):
    image = Image.new("RGB", (16, 8), tuple(RED))
    image.paste(tuple(BLUE), (8, 0, 16, 8))
    pixels = saved(image, "turned.jpg", exif=turned(6), quality=95, subsampling=0).astype(int)  # clockwise
    assert pixels.shape == (16, 8, 3) and np.abs(pixels[[2, 13], 4] - [RED, BLUE]).max() < 10
    cmyk = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "print.jpg", quality=95).astype(int)
    assert np.abs(cmyk[4, 4] - RED).max() < 10
    first, second = (Image.new("RGB", (2, 2), tuple(colour)) for colour in (RED, BLUE))
    assert saved(first, "film.gif", save_all=True, append_images=[second])[0, 0].tolist() == RED


def test_images_are_found_in_files_folders_and_patterns(tmp_path, picture, monkeypatch):
    for name in ("b/leaf10.png", "b/leaf2.PNG", "b/.hidden.png", ".cache/x.png", "a.jpg", "b/deep/1.png"):
        picture(tmp_path / name)
    (tmp_path / "b" / "notes.txt").touch()
    (tmp_path / "b" / "deep" / "loop").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert list(map(str, find_images(".").paths)) == ["a.jpg", "b/leaf2.PNG", "b/leaf10.png", "b/deep/1.png"]
    assert find_images(["b/*.png", "b/leaf10.png", "a.jpg"]).paths == [Path("b/leaf10.png"), Path("a.jpg")]
    (tmp_path / "b" / "deep" / "loop").unlink()
    assert [path.name for path in find_images("**/*.png").paths] == ["1.png", "leaf10.png"]


def test_values_without_images_are_reported_together(tmp_path, picture, monkeypatch):
    picture(tmp_path / "leaf.png")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        find_images(["laef.png", "empty", "*.jpg", ""])
    close, *others = caught.value.messages
    assert "images=laef.png" in close and "'leaf.png'" in close
    for value, message in zip(("images=empty:", "images=*.jpg:", "images=:"), others, strict=True):
        assert value in message and "Did you mean" not in message
    with pytest.raises(UserError, match="images= is missing"):
        find_images([])


def test_images_are_decoded_in_order_with_bounded_memory(tmp_path, picture):
    paths = [picture(tmp_path / f"{number}.png", number) for number in range(30)]
    paths[7].write_text("broken")
    asked = []
    results = decode_for_test((asked.append(path) or path for path in paths), 16, 12, ahead=4)
    for count, (path, pixels) in enumerate(results, start=1):
        assert path == paths[count - 1] and len(asked) <= count + 4
        assert (
            pixels == "not an image"
            if path == paths[7]
            else torch.equal(normalize(pixels), EvalTransform(16, 12)(load_image(path)))
        )
    assert count == 30
