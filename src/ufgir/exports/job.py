"""What is exported, and what a writer needs to write and check it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ufgir.exports.examples import Examples
from ufgir.models import ReducedViT
from ufgir.runs.trained import Trained


@dataclass(frozen=True)
class Job:
    """A model and what it is checked with.

    Attributes:
        trained: the weights as they were found.
        model: with these weights in float32, in evaluation mode, on the CPU.
        examples: images to compare on.
        tolerance: largest difference of a logit that is accepted.
    """

    trained: Trained
    model: ReducedViT
    examples: Examples
    tolerance: float

    @property
    def reducer(self) -> str:
        return self.trained.config["reducer"]["name"]


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write values as JSON, for people as well."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
