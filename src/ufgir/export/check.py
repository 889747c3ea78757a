"""Whether an exported model computes what the model does, on images of the test set."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ufgir.config import RunConfig
from ufgir.config.compose import compose
from ufgir.data import ImageDataModule
from ufgir.data.transforms import IMAGENET_MEAN, IMAGENET_STD, decode_for_test, normalize
from ufgir.errors import RunFailed, UserError
from ufgir.models import ReducedViT
from ufgir.training.checkpoint import weights_digest
from ufgir.training.run import build_data
from ufgir.training.trained import Trained
from ufgir.utils import expand_path

MOST = 16  # images to check on
BATCH_SIZES = (1, 3, 5)  # that the model was not traced with; all images at once besides
INPUT, OUTPUT, BATCH = "images", "logits", "batch"


@dataclass(frozen=True)
class Examples:
    """Prepared images (n, 3, S, S), and what they are, for people."""

    images: Tensor
    description: str


@dataclass(frozen=True)
class Job:
    """A model and what it is checked with.

    Attributes:
        trained: the weights as they were found.
        model: with these weights in float32, in evaluation mode, on the CPU.
        examples: images to compare on.
        tolerance: largest accepted difference of a logit.
    """

    trained: Trained
    model: ReducedViT
    examples: Examples
    tolerance: float


def with_data(config: RunConfig, options: Mapping[str, str]) -> RunConfig:
    """A configuration with another data set, or with one that has moved. The resize stays that of the training.

    Args:
        config: of the training.
        options: any of `dataset` (a file of the group), `dataset.root` and `dataset.images`.

    Raises:
        UserError: there is no such data set.
    """
    changes: dict[str, Any] = dict(options)
    if "dataset" in options:
        dataset = compose([f"dataset={options['dataset']}"])["dataset"]
        changes["dataset"] = {**dataset, "resize": resize_of(config)}
    return config.updated(changes, check=False)


def resize_of(config: RunConfig) -> int:
    """Side of the square that test images are resized to before the crop, pixels."""
    return config.dataset.arguments().get("resize") or int(config.image_size / 0.875)


def example_images(trained: Trained, other: RunConfig | None = None) -> Examples:
    """Up to 16 images, spread over the test set; random noise where the run's own data set is not found.

    Args:
        trained: with the data set of its run, and the tables in its folder.
        other: a configuration with the data set to use instead.

    Raises:
        UserError: the other data set cannot be read.
    """
    try:
        return _test_images(other or _own_data(trained))
    except UserError as error:
        if other is not None:
            raise
        size = trained.config.image_size
        images = torch.randn(MOST, 3, size, size, generator=torch.Generator().manual_seed(0))
        return Examples(images, f"{MOST} images of noise, as no test images were found ({error.messages[0]})")


def _own_data(trained: Trained) -> RunConfig:
    """The run's configuration, with the tables in its folder: those at their source may have changed since."""
    config, folder = trained.config, trained.folder
    arguments = config.dataset.arguments()
    if folder is None or not folder.splits.is_dir() or not config.dataset.is_ours or arguments["format"] == "leaves":
        return config
    images = expand_path("dataset.root", arguments["root"]).absolute() / arguments.get("images", "images")
    changes = {"dataset.format": "csv", "dataset.root": str(folder.path / "splits"), "dataset.images": str(images)}
    return config.updated(changes, check=False)


def _test_images(config: RunConfig) -> Examples:
    data, name = build_data(config), config.dataset.name
    if not isinstance(data, ImageDataModule):
        data.setup("test")
        images = data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)[0][:MOST]
        return Examples(images, f"{len(images)} test images of {name}")
    splits = data.splits
    table, kind = (splits.val, "validation") if splits.test is None else (splits.test, "test")
    paths = [path for path in splits.paths(table) if path.is_file()]
    if not paths:
        raise UserError(f"dataset.images: none of the {len(table)} {kind} images is below {splits.image_root}")
    count = min(MOST, len(paths))
    paths = [paths[number * len(paths) // count] for number in range(count)]
    decoded = [pixels for _, pixels in decode_for_test(paths, resize_of(config), config.image_size)]
    readable = [pixels for pixels in decoded if isinstance(pixels, Tensor)]
    if not readable:
        raise UserError(f"{paths[0]}: {decoded[0]}")
    images = normalize(torch.stack(readable))
    return Examples(images, f"{len(images)} of the {len(table)} {kind} images of {name}")


@dataclass(frozen=True)
class Comparison:
    """How far the logits of an exported model are from the model's.

    Attributes:
        images: which images were classified.
        batch_sizes: how many at a time.
        largest_difference: of a logit, absolute.
        largest_logit: of the model, absolute.
        other_answers: images whose best class is another one.
    """

    images: str
    batch_sizes: list[int]
    largest_difference: float
    largest_logit: float
    other_answers: int

    as_json = asdict

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.batch_sizes[:-1]))
        return (
            f"{self.images}, in batches of {sizes} and {self.batch_sizes[-1]}: logits differ by at most "
            f"{self.largest_difference:.2g} (the largest is {self.largest_logit:.3g}), "
            f"{self.other_answers or 'no'} answers differ"
        )


def compare(model: nn.Module, exported: Callable[[Tensor], Tensor], examples: Examples) -> Comparison:
    """Run both on batches of several sizes.

    Args:
        model: in evaluation mode.
        exported: images (B, 3, S, S) -> logits (B, classes).
        examples: n images; they are repeated where a batch has more.
    """
    images, sizes = examples.images, [*BATCH_SIZES, len(examples.images)]
    difference, largest, others = 0.0, 0.0, 0
    for size in sizes:
        batch = images[torch.arange(size) % len(images)]
        with torch.inference_mode():
            expected, found = model(batch), exported(batch.clone())
        difference = max(difference, (found - expected).abs().max().nan_to_num(torch.inf).item())
        largest = max(largest, expected.abs().max().item())
        others = max(others, int((found.argmax(dim=1) != expected.argmax(dim=1)).sum()))
    return Comparison(examples.description, sizes, difference, largest, others)


def require(comparison: Comparison, tolerance: float, what: str) -> None:
    """See that the difference is small enough.

    Raises:
        RunFailed: it is not.
    """
    if comparison.largest_difference > tolerance:
        raise RunFailed(
            f"{what} does not compute what the model does; nothing was written. {comparison}; tolerance={tolerance:g} "
            "is accepted. Near ties between tokens may be decided differently: if so few answers are acceptable, give "
            "a larger tolerance=."
        )


def preprocessing(trained: Trained) -> dict[str, Any]:
    """How an image becomes the model's input, and what its output means, as JSON values."""
    side, size, classes = resize_of(trained.config), trained.config.image_size, len(trained.class_names)
    return {
        "input": {"name": INPUT, "shape": [BATCH, 3, size, size], "type": "float32"},
        "output": {"name": OUTPUT, "shape": [BATCH, classes], "type": "float32"},
        "resize": side,
        "interpolation": "bicubic",
        "crop": size,
        "crop_start": round((side - size) / 2),
        "mean": list(IMAGENET_MEAN),
        "std": list(IMAGENET_STD),
        "steps": [
            "apply the EXIF rotation, lay transparency over white, convert to RGB with 8 bits per channel",
            f"resize to {side} x {side} pixels, bicubic and antialiased, without keeping the aspect ratio",
            f"crop the {size} x {size} pixels in the center, from row and column crop_start",
            "divide by 255, subtract mean, divide by std; channels first",
        ],
        "class_names": trained.class_names,
        "weights_sha256": weights_digest(trained.state_dict),
    }
