"""How many images a second the loader alone gives, with each cache."""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader

from ufgir.data import Source, collect, image_faults
from ufgir.errors import UserError
from ufgir.runs.build import build_data
from ufgir.runs.plan import batch_faults

CACHES = ("none", "ram", "disk")


def measure_loaders(config: Mapping[str, Any], source: Source, epochs: int = 3) -> list[dict[str, Any]]:
    """Images per second of the training loader with each cache: first epoch, filling included, and later ones.

    Args:
        config: a resolved configuration.
        source: its data set.
        epochs: later epochs to time.
    """
    rows = []
    for cache in CACHES:
        with empty_cache():
            data = build_data({**config, "dataset": {**config["dataset"], "cache": cache}}, source)
            start = time.perf_counter()
            loader = data.train_dataloader()
            images = _pass(loader, 0)
            first = time.perf_counter() - start
            later = sorted(_timed(loader, epoch) for epoch in range(1, epochs + 1))
        rows.append({
            "cache": cache, "first_epoch": images / first, "later_epochs": images / later[len(later) // 2],
            "images": images, "workers": data.num_workers, "image_size": config["image_size"],
        })  # fmt: skip
    for row in rows:
        row["over_uncached"] = row["later_epochs"] / rows[0]["later_epochs"]
    return rows


def sources_of(jobs: Sequence[tuple[dict[str, str], dict[str, Any]]]) -> list[tuple[dict[str, Any], Source]]:
    """The first configuration of each image size with its data set, which is there and sound.

    Raises:
        UserError: the faults of the data sets, before minutes are spent on models.
    """
    chosen: dict[int, dict[str, Any]] = {}
    for _, config in jobs:
        chosen.setdefault(config["image_size"], config)
    sources, faults = [], []
    for config in chosen.values():
        source, found = collect(config["dataset"], protocol=config["protocol"], seed=config["seed"])
        faults += found
        if source is not None:
            faults += batch_faults(config, source)
            sources.append((config, source))
    if not faults:
        faults = [text for _, source in sources if source.render is None for text in image_faults(source)]
    if faults:
        raise UserError(*dict.fromkeys(faults))
    for _, source in sources:
        source.prepare()
    return sources


def loaders_of(
    sources: Sequence[tuple[dict[str, Any], Source]], rows: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The loader of each data set, beside what the unreduced model trains at its image size."""
    found: list[dict[str, Any]] = []
    for config, source in sources:
        eaten = [row["unreduced_images_per_second"] for row in rows
                 if row["mode"] == "train" and row["image_size"] == config["image_size"]]  # fmt: skip
        for row in measure_loaders(config, source):
            found.append({**row, "over_training": row["later_epochs"] / max(eaten) if eaten else None})
    return found


@contextmanager
def empty_cache() -> Iterator[None]:
    """A cache folder of its own, so that filling the disk cache is timed and the user's stays as it is."""
    before = os.environ.get("UFGIR_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["UFGIR_CACHE"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["UFGIR_CACHE"]
            else:
                os.environ["UFGIR_CACHE"] = before


def _timed(loader: DataLoader, epoch: int) -> float:
    start = time.perf_counter()
    _pass(loader, epoch)
    return time.perf_counter() - start


def _pass(loader: DataLoader, epoch: int) -> int:
    """Number of images of one epoch."""
    loader.sampler.set_epoch(epoch)
    return sum(len(targets) for _, targets in loader)
