"""What a program without this package must know of a model's input and output."""

from typing import Any

from ufgir.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from ufgir.runs.trained import Trained
from ufgir.training.checkpoint import weights_digest

INPUT, OUTPUT, BATCH = "images", "logits", "batch"
PREPROCESSING = "preprocessing.json"  # the file for it, beside the model's


def preprocessing(trained: Trained) -> dict[str, Any]:
    """How an image becomes the model's input, and what its output means, in values that JSON has."""
    side, size, classes = trained.config["dataset"]["resize"], trained.config["image_size"], len(trained.class_names)
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
            "turn the image as its EXIF data say, lay transparency over white, make it RGB with 8 bits per channel",
            f"resize it to {side} x {side} pixels, bicubic and antialiased, whatever its proportions",
            f"cut out the {size} x {size} pixels in its centre, from row and column crop_start",
            "divide by 255, subtract mean, divide by std; channels first",
        ],
        "class_names": trained.class_names,
        "weights_sha256": weights_digest(trained.state_dict),
    }
