"""The tables of one test: images, classes and mix-ups."""

import csv
from collections.abc import Sequence
from typing import IO

import pandas as pd

from ufgir.photos import written
from ufgir.prediction.rows import answer_columns, answer_fields


def write_predictions(images: pd.DataFrame, class_names: Sequence[str], stream: IO[str]) -> None:
    """A row for each image: path, true class, whether the likeliest class is right, and the five likeliest."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["path", "class", "correct", *answer_columns(len(class_names))])
    for row in images.itertuples():
        correct = str(bool(row.correct)).lower()
        fields = answer_fields(row.answer, class_names)
        writer.writerow([written(row.path), class_names[row.class_id], correct, *fields])


def by_class(images: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """A row for each class: images, correct ones, accuracy in percent, and what its others are taken for most often.

    Classes without a test image have no accuracy.
    """
    groups = dict(list(images.groupby("class_id")))
    rows = []
    for number, name in enumerate(class_names):
        own = groups.get(number, images.iloc[:0])
        wrong = own.loc[~own["correct"].astype(bool), "taken_for"].value_counts()
        rows.append(
            {
                "class": name,
                "images": len(own),
                "correct": int(own["correct"].sum()),
                "accuracy": round(100 * own["correct"].mean(), 2) if len(own) else None,
                "most_taken_for": class_names[wrong.index[0]] if len(wrong) else None,
                "times": int(wrong.iloc[0]) if len(wrong) else 0,
            }
        )
    return pd.DataFrame(rows)


def mix_ups(images: pd.DataFrame) -> pd.DataFrame:
    """A row for each pair of a class and another that its images were taken for, the most frequent first.

    Equally frequent ones are ordered by how sure the model was.

    Returns:
        `class_id`, `taken_for`, `times`, `images` (of the class) and `sureness` (mean probability of the wrong class).
    """
    totals = images.groupby("class_id").size()
    wrong = images[~images["correct"].astype(bool)]
    pairs = wrong.groupby(["class_id", "taken_for"]).agg(times=("path", "size"), sureness=("sureness", "mean"))
    pairs = pairs.reset_index()
    pairs["images"] = pairs["class_id"].map(totals).astype(int)
    return pairs.sort_values(["times", "sureness"], ascending=False, kind="stable", ignore_index=True)


def named(pairs: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """`mix_ups` with names, for people."""
    names = list(class_names)
    return pd.DataFrame(
        {
            "class": [names[number] for number in pairs["class_id"]],
            "taken_for": [names[number] for number in pairs["taken_for"]],
            "times": pairs["times"],
            "images": pairs["images"],
            "sureness": pairs["sureness"].round(4),
        }
    )
