"""Whether an exported model computes what the model does."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ufgir.errors import RunFailed
from ufgir.exports.examples import Examples

BATCHES = (1, 3, 5)  # sizes that the model was not traced with; all images at once besides


@dataclass(frozen=True)
class Comparison:
    """How far the logits of an exported model are from the model's.

    Attributes:
        images: which images were classified.
        batch_sizes: in how many at a time.
        largest_difference: of a logit, absolute.
        largest_logit: of the model, absolute, to compare that with.
        other_answers: images whose likeliest class is another one.
    """

    images: str
    batch_sizes: list[int]
    largest_difference: float
    largest_logit: float
    other_answers: int

    def as_json(self) -> dict:
        return asdict(self)

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
    images, sizes = examples.images, [*BATCHES, len(examples.images)]
    difference, largest, others = 0.0, 0.0, 0
    for size in sizes:
        batch = images[torch.arange(size) % len(images)]
        with torch.inference_mode():
            expected, found = model(batch), exported(batch.clone())
        difference = max(difference, (found - expected).abs().max().nan_to_num(torch.inf).item())
        largest = max(largest, expected.abs().max().item())
        others = max(others, int((found.argmax(dim=1) != expected.argmax(dim=1)).sum()))
    return Comparison(examples.what, sizes, difference, largest, others)


def require(comparison: Comparison, tolerance: float, what: str) -> None:
    """See that the difference is small enough.

    Args:
        comparison: of the exported model with the model.
        tolerance: largest difference of a logit that is accepted.
        what: the exported model, for the message.

    Raises:
        RunFailed: it is not.
    """
    if comparison.largest_difference > tolerance:
        raise RunFailed(
            f"{what} does not compute what the model does; nothing was written. {comparison}; tolerance={tolerance:g} "
            "is accepted. Near ties between tokens may be decided otherwise: if so few answers suit you, give a larger "
            "tolerance=."
        )
