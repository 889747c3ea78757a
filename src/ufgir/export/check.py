"""A model to export, and whether the exported one computes the same on images of the test set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ufgir.data.transforms import IMAGENET_MEAN, IMAGENET_STD, decode_for_test, normalize
from ufgir.errors import RunFailed, UserError
from ufgir.inference.evaluate import INFERENCE_ONLY, other_dataset, test_data
from ufgir.inference.token_maps import evenly_spaced
from ufgir.models import ReducedViT
from ufgir.training.checkpoint import weights_digest
from ufgir.training.trained import Trained

MOST = 16  # images to check on
BATCH_SIZES = (1, 3, 5)  # that the model was not traced with; all images at once besides


@dataclass(frozen=True)
class Job:
    """A model to export, and what it is checked with.

    Attributes:
        trained: the weights as they were found.
        model: with these weights in float32, in evaluation mode, on the CPU.
        images: prepared, to compare on (n, 3, S, S).
        description: what these images are, for people.
        tolerance: largest accepted difference of a logit.
    """

    trained: Trained
    model: ReducedViT
    images: Tensor
    description: str
    tolerance: float

    @property
    def reducer(self) -> str:
        return str(self.trained.config.reducer.name)

    def compare(self, exported: Callable[[Tensor], Tensor], must_equal: str | None = None) -> dict[str, Any]:
        """Run the model and the exported one on batches of several sizes.

        Args:
            exported: images (B, 3, S, S) -> logits (B, classes).
            must_equal: what `exported` is, for the message, if it must agree within the tolerance.

        Returns:
            `images` (which), `batch_sizes`, `largest_difference` of a logit and `largest_logit` of the model, absolute,
            and `other_answers`: images whose best class is another one.

        Raises:
            RunFailed: it does not.
        """
        sizes = [*BATCH_SIZES, len(self.images)]
        index = [torch.arange(size) % len(self.images) for size in sizes]
        with torch.inference_mode():
            pairs = [(self.model(batch), exported(batch.clone())) for batch in map(self.images.__getitem__, index)]
        expected, found = map(torch.cat, zip(*pairs, strict=True))
        is_other = found.argmax(dim=1) != expected.argmax(dim=1)
        comparison = {
            "images": self.description,
            "batch_sizes": sizes,
            "largest_difference": (found - expected).abs().max().nan_to_num(torch.inf).item(),
            "largest_logit": expected.abs().max().item(),
            "other_answers": len(torch.cat(index)[is_other].unique()),
        }
        if must_equal is not None and comparison["largest_difference"] > self.tolerance:
            raise RunFailed(
                f"{must_equal} does not compute what the model does; nothing was written. {describe(comparison)}; "
                f"tolerance={self.tolerance:g} is accepted. Near ties between tokens may be decided differently: if so "
                "few answers are acceptable, give a larger tolerance=."
            )
        return comparison


def describe(comparison: Mapping[str, Any]) -> str:
    """What `Job.compare` found, in a line."""
    *sizes, last = comparison["batch_sizes"]
    return (
        f"{comparison['images']}, in batches of {', '.join(map(str, sizes))} and {last}: logits differ by at most "
        f"{comparison['largest_difference']:.2g} (the largest is {comparison['largest_logit']:.3g}), "
        f"{comparison['other_answers'] or 'no'} answers differ"
    )


def example_images(trained: Trained, options: Mapping[str, str]) -> tuple[Tensor, str]:
    """Up to 16 images, spread over the test set, and what they are; noise where the run's own data are not found.

    Args:
        trained: with the data set of its run, and the tables in its folder.
        options: `dataset` (a file of the group), `dataset.root`, `dataset.images`: other data, or where they lie now.

    Raises:
        UserError: the data that the options name cannot be read.
    """
    base, dataset = trained.config.updated(INFERENCE_ONLY, check=False), options.get("dataset")
    size, changes = base.image_size, {"dataset.cache": "none"} if base.dataset.is_ours else {}
    changes |= {key: value for key, value in options.items() if key != "dataset"}
    try:
        config = base.updated({**other_dataset(dataset, base), **changes})
        splits = test_data(trained, config, own=dataset is None).splits
    except UserError as error:
        if options:
            raise
        images = torch.randn(MOST, 3, size, size, generator=torch.Generator().manual_seed(0))
        return images, f"{MOST} images of noise, as no test images were found ({error.messages[0].rstrip('.')})"
    table, kind = (splits.val, "validation") if splits.test is None else (splits.test, "test")
    decoded = decode_for_test(evenly_spaced(splits.paths(table), MOST), config.resize, size)
    images = normalize(torch.stack([pixels for _, pixels in decoded]))
    return images, f"{len(images)} of the {len(table)} {kind} images of {config.dataset.name}"


def preprocessing(trained: Trained) -> dict[str, Any]:
    """How an image becomes the model's input, and what its output means, as JSON values."""
    side, size, classes = trained.config.resize, trained.config.image_size, len(trained.class_names)
    return {
        "input": {"name": "images", "shape": ["batch", 3, size, size], "type": "float32"},
        "output": {"name": "logits", "shape": ["batch", classes], "type": "float32"},
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
