"""The test pass equals torchvision to the bit; configured transforms compose and do what they say."""

import pytest
import torch
from hydra.utils import instantiate
from PIL import Image
from torchvision import transforms

from ufgir.config.compose import compose
from ufgir.data.transforms import EvalTransform, mix_batches, paper_transforms
from ufgir.utils import resize_side


def test_resize_side():
    assert [resize_side(224), resize_side(448), resize_side(96)] == [256, 512, 109]


@pytest.mark.parametrize("side", [16, 19, 21])
def test_testing_equals_torchvision(picture, tmp_path, side):
    image = Image.open(picture(tmp_path / "a.png", size=(40, 31)))
    theirs = transforms.Compose(
        [
            transforms.Resize((side, side), transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(16),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    assert torch.equal(EvalTransform(side, 16)(image), theirs(image))


def test_paper_crop_reaches_every_place_and_flips_half_of_them():
    pixels = torch.stack(torch.meshgrid(*[torch.arange(12, dtype=torch.uint8)] * 2, indexing="ij") * 2)[:3]
    crop, flip = paper_transforms(10)
    images = [flip(crop(pixels)) for _ in range(600)]
    places = {(int(image[0].min()), int(image[1].min())) for image in images}
    assert places == {(row, column) for row in range(3) for column in range(3)}
    assert 240 < sum(bool(image[1, 0, 0] > image[1, 0, -1]) for image in images) < 360


@pytest.mark.parametrize("name", ["paper", "none", "strong", "mixup"])
def test_packaged_augmentation(name):
    augment = compose([f"augment={name}", "image_size=16"])["augment"]
    pixels = torch.randint(0, 256, (3, 19, 19), dtype=torch.uint8)
    for transform in instantiate(augment["train"]):
        pixels = transform(pixels)
    assert pixels.shape == (3, 16, 16) and pixels.dtype == torch.uint8
    if (batch := instantiate(augment["batch"])) is not None:
        images, targets = batch(num_classes=5)(torch.rand(4, 3, 16, 16), torch.arange(4))
        assert images.shape == (4, 3, 16, 16) and targets.shape == (4, 5)
        assert torch.allclose(targets.sum(1), torch.ones(4))


def test_mix_batches_without_cutmix_is_mixup():
    (only,) = mix_batches(3, cutmix_alpha=None).transforms
    assert type(only).__name__ == "MixUp"
