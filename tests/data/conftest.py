"""Small data sets made on the fly; the cache folder is a temporary one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The user's cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("UFGIR_CACHE", str(folder))
    return folder


@pytest.fixture
def picture():
    """Writes a picture of noise and returns its path."""

    def write(path: Path, number: int = 0, size: tuple[int, int] = (20, 16)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def csv_set(tmp_path, picture) -> Path:
    """A sound data set of 3 classes: 2 training, 1 validation and 1 test image of each. Returns its root."""
    root, number = tmp_path / "set", 0
    rows = {"train": [], "val": [], "test": []}
    for split, count in {"train": 2, "val": 1, "test": 1}.items():
        for class_id in range(3):
            for index in range(count):
                name = f"{class_id}_oak/{split}_{index}.png"
                picture(root / "images" / name, number := number + 1)
                rows[split].append((class_id, name))
    rows["train_val"] = rows["train"] + rows["val"]
    for split, part in rows.items():
        pd.DataFrame(part, columns=["class_id", "dir"]).to_csv(root / f"{split}.csv", index=False)
    return root
