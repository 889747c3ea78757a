"""The loaders of a run."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ufgir.data.cache import Store, open_store
from ufgir.data.sampler import EpochSampler, image_generator
from ufgir.data.source import Source
from ufgir.data.transforms import Augment, normalised, resize_side
from ufgir.errors import UfgirWarning, UserError

MOST_WORKERS = 8


class ImageDataset(Dataset):
    """Images of one table, cropped and flipped, a batch at a time.

    Args:
        store: resized pixels by row.
        labels: class id of each row.
        image_size: side S of the crop, pixels.
        augment: what is drawn at random for each image.
        seed: of these draws, together with the epoch and the row.
    """

    def __init__(self, store: Store, labels: list[int], image_size: int, augment: Augment, seed: int) -> None:
        self.store, self.labels = store, labels
        self.image_size, self.augment, self.seed = image_size, augment, seed

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, keys: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """The images of a batch as they are in their epochs: `(epoch, index)` → uint8 (B, 3, S, S), class ids (B,)."""
        images = torch.empty((len(keys), 3, self.image_size, self.image_size), dtype=torch.uint8)
        for image, (epoch, index) in zip(images.numpy(), keys, strict=True):
            pixels = self.augment.cut(self.store[index], self.image_size, image_generator(self.seed, epoch, index))
            image[:] = pixels.transpose(2, 0, 1)
        return images, torch.tensor([self.labels[index] for _, index in keys])

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        """One image of them: uint8 (3, S, S) and its class id."""
        images, labels = self.__getitems__([key])
        return images[0], int(labels)


class UFGIRData(lightning.LightningDataModule):
    """Training and test loader of a source.

    What they yield depends on `seed`, the epoch and the tables only: not on workers, cache or an interruption.
    Lightning must leave the sampler alone (`use_distributed_sampler=False`); with several processes the training
    images are shared out here.

    Args:
        source: tables and images.
        image_size: side S of the model's input, pixels.
        resize: side of the resize before the crop; None: int(S / 0.875).
        augment: `random_crop` (bool) and `hflip` (probability) of training; other keys are ignored.
        batch_size: images per step, over all processes together.
        num_workers: loader processes; None: one per core, at most 8.
        cache: `none`, `ram` or `disk`.
        seed: of the order and the random choices.
        progress: show a bar while the cache is filled.

    Raises:
        UserError: `resize` is smaller than `image_size`.
    """

    def __init__(
        self,
        source: Source,
        *,
        image_size: int,
        resize: int | None = None,
        augment: Mapping[str, object],
        batch_size: int,
        num_workers: int | None = None,
        cache: str = "none",
        seed: int,
        progress: bool = True,
    ) -> None:
        super().__init__()
        self.source, self.image_size, self.side = source, image_size, resize_side(image_size, resize)
        self.augment = Augment(random_crop=augment["random_crop"], hflip=augment["hflip"])
        self.batch_size, self.cache, self.seed, self.progress = batch_size, cache, seed, progress
        self.num_workers = min(MOST_WORKERS, _cores()) if num_workers is None else num_workers
        self._stores: dict[str, Store] = {}

    def prepare_data(self) -> None:
        """Fill the disk cache, in one process of each machine; the others then find it."""
        if self.cache == "disk":
            self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Open the caches of `stage` (`fit`, `test`; None: both) before any bar of Lightning's is shown."""
        for part in {"fit": ["train"], "test": ["test"]}.get(stage, ["train", "test"]):
            self._store(part)

    def train_dataloader(self) -> DataLoader:
        """Batches of images, uint8 (B, 3, S, S), and class ids (B,); the last incomplete one is dropped."""
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        dataset = self._dataset("train", self.augment)
        sampler = EpochSampler(len(dataset), seed=self.seed, shuffle=True, rank=rank, world_size=world_size)
        share = self.batch_size // world_size
        return self._loader(dataset, sampler, share, drop_last=True, persistent_workers=self.num_workers > 0)

    def test_dataloader(self) -> DataLoader:
        """All test images in the order of their table, centre-cropped; every process sees all of them."""
        dataset = self._dataset("test", Augment())
        return self._loader(dataset, EpochSampler(len(dataset), seed=self.seed, shuffle=False), self.batch_size)

    def on_after_batch_transfer(
        self, batch: tuple[Tensor, Tensor], dataloader_idx: int
    ) -> tuple[Tensor, Tensor]:
        """What the model takes: images float32 (B, 3, S, S), normalised on its device."""
        images, targets = batch
        return normalised(images), targets

    def _loader(self, dataset: ImageDataset, sampler: EpochSampler, batch_size: int, **options: bool) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=as_it_is,
            num_workers=self.num_workers,
            pin_memory=self._on_cuda(),
            **options,
        )

    def _dataset(self, part: str, augment: Augment) -> ImageDataset:
        labels = [int(number) for number in getattr(self.source, part)["class_id"]]
        return ImageDataset(self._store(part), labels, self.image_size, augment, self.seed)

    def _store(self, part: str) -> Store:
        if part not in self._stores:
            paths: list[Path] = self.source.paths(getattr(self.source, part))
            try:
                self._stores[part] = open_store(self.cache, paths, self.side, self.progress)
            except UserError as error:
                if self.cache != "ram" or part == "train":
                    raise
                # Tested once, after hours of training it may be: too little memory must not cost the run.
                warnings.warn(f"{error}; the {part} images are decoded as they are needed", UfgirWarning, stacklevel=2)
                self._stores[part] = open_store("none", paths, self.side, self.progress)
        return self._stores[part]

    def _on_cuda(self) -> bool:
        if self.trainer is None:
            return torch.cuda.is_available()
        return self.trainer.strategy.root_device.type == "cuda"


def as_it_is(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The data set has made a batch already."""
    return batch


def _cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
