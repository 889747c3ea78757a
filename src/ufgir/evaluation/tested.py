"""One test pass: its figures, and what the model said of each image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import pandas as pd

from ufgir.cost import count_macs
from ufgir.data import Source
from ufgir.models import ReducedViT
from ufgir.peak import forget_peak
from ufgir.prediction.answers import Answer, answers
from ufgir.runs.build import build_data, build_module
from ufgir.runs.testing import run_test


class Listener(L.Callback):
    """Keeps the five likeliest classes of each image; the logits themselves would be large."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self.answers += answers(outputs)


@dataclass
class Tested:
    """What came of a test.

    Attributes:
        figures: as they are written to JSON.
        images: a row for each image in the order of the table: `path`, `class_id`, `answer`, `correct`, `taken_for`
            (class id) and `sureness` (probability of that class).
    """

    figures: dict[str, Any]
    images: pd.DataFrame


def tested_once(model: ReducedViT, config: Mapping[str, Any], source: Source, weights_sha256: str) -> Tested:
    """Test a model on the test table of `source`.

    Args:
        model: with its weights.
        config: resolved, for this machine.
        source: the data set.
        weights_sha256: of the weights as they were trained; at another image size the model's own are others.
    """
    listener = Listener()
    cost = {
        "keep_rate": config["keep_rate"],
        "image_size": config["image_size"],
        "gmacs": round(count_macs(model, config["image_size"]) / 1e9, 4),
    }
    module = build_module(config, model, for_test=True)
    forget_peak()  # another keep rate may have been tested before
    figures = run_test(module, build_data(config, source), config["trainer"], [listener])
    told = {"weights_sha256": weights_sha256, "dataset": source.name, "protocol": config["protocol"], **cost}
    return Tested({**figures, **told}, _images(source, listener.answers))


def _images(source: Source, given: list[Answer]) -> pd.DataFrame:
    table = source.test.iloc[: len(given)]  # a debugging run tests fewer
    taken_for = [answer.classes[0] for answer in given]
    return pd.DataFrame(
        {
            "path": source.paths(table),
            "class_id": table["class_id"].to_numpy(),
            "answer": given,
            "correct": table["class_id"].to_numpy() == taken_for,
            "taken_for": taken_for,
            "sureness": [answer.probabilities[0] for answer in given],
        }
    )
