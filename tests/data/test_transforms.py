"""The paper's transforms, to the bit those of torchvision."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from ufgir.data.sampler import image_generator
from ufgir.data.transforms import Augment, normalised, resize_side, resized_pixels
from ufgir.errors import UserError

PAPER = Augment(random_crop=True, hflip=0.5)


def numbered(side: int) -> np.ndarray:
    """Pixels that tell their own row and column."""
    rows, columns = np.mgrid[:side, :side]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(("size", "resize", "side"), [(224, None, 256), (448, None, 512), (96, None, 109),
                                                      (96, 112, 112), (96, 96, 96)])
def test_resize_side(size, resize, side):
    assert resize_side(size, resize) == side


def test_resize_below_the_crop_is_refused():
    with pytest.raises(UserError, match="dataset.resize=80 is smaller than image_size=96"):
        resize_side(96, 80)


@pytest.mark.parametrize("side", [16, 19, 21])
def test_testing_equals_torchvision(picture, tmp_path, side):
    path = picture(tmp_path / "a.png", size=(40, 31))
    theirs = transforms.Compose([
        transforms.Resize((side, side), transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(16),
        transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])(Image.open(path))
    pixels = Augment().cut(resized_pixels(path, side), 16, image_generator(1, 0, 0))
    ours = normalised(torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
    assert ours.dtype == torch.float32 and ours.shape == (3, 16, 16)
    assert torch.equal(ours, theirs)


def test_random_crop_reaches_every_place_and_flips_half_of_them():
    pixels, places, flipped = numbered(12), set(), 0
    for index in range(600):
        crop = PAPER.cut(pixels, 10, image_generator(1, 0, index))
        assert crop.shape == (10, 10, 3)
        mirrored = crop[0, 0, 1] > crop[0, -1, 1]
        flipped += mirrored
        places.add((crop[0, 0, 0], crop[0, -1 if mirrored else 0, 1]))
    assert places == {(row, column) for row in range(3) for column in range(3)}
    assert 250 < flipped < 350


def test_flip_alone_keeps_the_centre():
    crop = Augment(hflip=1.0).cut(numbered(12), 10, image_generator(1, 0, 0))
    assert crop[0, :, 1].tolist() == list(range(10, 0, -1))


def test_draws_depend_on_seed_epoch_and_index_only():
    def drawn(seed, epoch, index):
        np.random.seed(np.random.randint(1000))
        return image_generator(seed, epoch, index).random()

    assert drawn(1, 2, 3) == drawn(1, 2, 3)
    assert len({drawn(1, 2, 3), drawn(0, 2, 3), drawn(1, 0, 3), drawn(1, 2, 0), drawn(3, 2, 1)}) == 5
