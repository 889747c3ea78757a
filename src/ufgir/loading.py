"""A trained model in Python, from wherever it lies."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ufgir.files import typed_path
from ufgir.models import ReducedViT


@dataclass(frozen=True)
class Classifier:
    """A trained model with all that is needed to use it.

    Attributes:
        model: images (B, 3, S, S) -> logits (B, classes), in evaluation mode, on the CPU.
        class_names: in the order of the logits.
        transform: a PIL image of any mode and size -> float32 (3, S, S), exactly as in the test pass.
        config: the resolved configuration of its run.
    """

    model: ReducedViT
    class_names: list[str]
    transform: Callable[[Image.Image], Tensor]
    config: dict[str, Any]


def load(source: str | Path) -> Classifier:
    """Load a trained model.

    Args:
        source: the folder of a finished run, a `model.pt`, or `hf-hub:USER/NAME`, a repository of the Hugging Face
            Hub that `python -m ufgir.push` made (`hf-hub:USER/NAME@REVISION` for one of its revisions).

    Raises:
        UserError: there are no weights, or they cannot be read or had.
    """
    # Lightning takes seconds to import, and nothing else that `import ufgir` offers needs it.
    from ufgir.data.transforms import ImageTransform
    from ufgir.runs.trained import find_trained

    path, misread = typed_path("checkpoint", str(source))
    word = "run" if not misread and path.is_dir() else "checkpoint"
    trained = find_trained({word: str(source)})
    transform = ImageTransform(trained.config["dataset"]["resize"], trained.config["image_size"])
    return Classifier(trained.build().eval(), trained.class_names, transform, trained.config)
