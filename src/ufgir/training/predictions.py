"""What a model says of each image of a table, and the file predictions.csv."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import lightning as L
from torch import Tensor

from ufgir.data import Splits
from ufgir.utils import atomic_write

TOP = 5


class Prediction(NamedTuple):
    """The most probable classes of one image, at most five, the most probable first.

    Attributes:
        classes: their ids.
        probabilities: 0 to 1; over all classes they add up to 1.
    """

    classes: list[int]
    probabilities: list[float]


def top_classes(logits: Tensor) -> list[Prediction]:
    """The prediction of each row of logits (B, classes); of equal ones the first class wins, as in the accuracy."""
    classes = logits.sort(dim=1, descending=True, stable=True).indices[:, :TOP]  # (B, at most 5)
    probabilities = logits.softmax(dim=1).gather(1, classes)
    return [Prediction(*pair) for pair in zip(classes.tolist(), probabilities.tolist(), strict=True)]


class Predictions(L.Callback):
    """Keeps the prediction and the label of each image of the last test or validation pass, in its order."""

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.predictions: list[Prediction] = []
        self.labels: list[int] = []

    on_validation_start = on_test_start

    def on_test_batch_end(self, trainer, pl_module, outputs: Tensor, batch, batch_idx, dataloader_idx=0) -> None:
        self.add(outputs.float().cpu(), batch[1].cpu())

    on_validation_batch_end = on_test_batch_end

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Keep those of a batch, given its logits (B, classes) and labels (B,)."""
        self.predictions += top_classes(logits)
        self.labels += labels.tolist()

    def rows(self, splits: Splits, role: str) -> Iterator[tuple[Path, int, Prediction]]:
        """The path, label and prediction of each image of the table that has this role: val or test."""
        # Limited runs test only the first images.
        paths = [path.absolute() for path in splits.paths(splits.roles[role])]
        return zip(paths, self.labels, self.predictions, strict=False)


def write_predictions(file: Path, rows: Iterable[tuple[Path, int, Prediction]], class_names: Sequence[str]) -> None:
    """Write `path,class,correct,top1,probability1,top2,...`, a row for each image."""
    with atomic_write(file) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", "class", "correct", *columns(len(class_names))])
        for path, label, prediction in rows:
            correct = str(label == prediction.classes[0]).lower()
            writer.writerow([printable(path), class_names[label], correct, *fields(prediction, class_names)])


def columns(classes: int) -> list[str]:
    """`top1,probability1,top2,...` for as many classes as there are, at most five."""
    return [f"{name}{rank}" for rank in range(1, min(TOP, classes) + 1) for name in ("top", "probability")]


def fields(prediction: Prediction, class_names: Sequence[str]) -> list[str]:
    """The fields of `columns`."""
    pairs = zip(prediction.classes, prediction.probabilities, strict=True)
    return [field for number, probability in pairs for field in (class_names[number], f"{probability:.6f}")]


def printable(path: Path) -> str:
    """A path as text that every encoding of Unicode takes, whatever bytes the file system holds."""
    return str(path).encode("utf-8", "backslashreplace").decode()
