"""Answers as rows of a CSV file."""

from collections.abc import Sequence

from ufgir.prediction.answers import TOP, Answer


def answer_columns(classes: int) -> list[str]:
    """`top1,probability1,top2,...` for as many classes as there are, at most five."""
    return [f"{name}{rank}" for rank in range(1, min(TOP, classes) + 1) for name in ("top", "probability")]


def answer_fields(answer: Answer, class_names: Sequence[str]) -> list[str]:
    """The fields of `answer_columns`."""
    pairs = zip(answer.classes, answer.probabilities, strict=True)
    return [field for number, probability in pairs for field in (class_names[number], f"{probability:.6f}")]
