"""The loaders of a data set, as a LightningDataModule."""

import hashlib
import inspect
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Literal

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from torchvision.transforms import v2

from ufgir.data.cache import CACHES, NoStore, Store, expire, fingerprint, open_store, touch
from ufgir.data.images import WORKERS, decode, find_images, load_image, track
from ufgir.data.splits import PROTOCOLS, Splits, load_splits
from ufgir.data.transforms import center_crop, normalize, paper_transforms
from ufgir.errors import UserError
from ufgir.utils import cache_dir, first_ten, resize_side

Key = tuple[int, int] | int  # epoch and row; a row alone, as samplers other than ours give it, belongs to epoch 0


class EpochSampler(DistributedSampler):
    """Yields `(epoch, row)`; the order depends on `(seed, epoch)` only.

    It is a `DistributedSampler` so that Lightning leaves it alone. With several processes (`num_replicas`) each takes
    every so many-th row of the same order, and all take equally many: together they see the batches of a single one.
    """

    def __init__(self, length: int, *, seed: int, shuffle: bool, rank: int = 0, num_replicas: int = 1) -> None:
        super().__init__(range(length), num_replicas, rank, shuffle=shuffle, seed=seed, drop_last=True)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            np.random.default_rng((0, self.seed, self.epoch)).shuffle(order)
        return ((self.epoch, int(row)) for row in order[self.rank : self.total_size : self.num_replicas])


class ImageDataset(Dataset):
    """Images of one table and their class ids, one or a batch at a time.

    Args:
        store: resized pixels by row, uint8 (3, side, side).
        labels: class id (or any number) of each row.
        image_size: side S of the result, pixels.
        transforms: run under torch's CPU generator, seeded by (seed, epoch, row); None: the center crop of testing.
    """

    def __init__(
        self, store: Store, labels: Sequence[int], image_size: int, transforms: Sequence[Callable] | None, seed: int
    ) -> None:
        self.store, self.labels, self.image_size = store, list(map(int, labels)), image_size
        self.transforms, self.seed = transforms, seed
        # Foreign transforms may work in place, which must not change the cache.
        self.copies = not all(
            isinstance(each, v2.Transform) and not getattr(each, "inplace", False) for each in transforms or []
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        """One image, uint8 (3, S, S), and its class id."""
        images, labels = self.__getitems__([key])
        return images[0], int(labels)

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        """The images of a batch, uint8 (B, 3, S, S), and their class ids (B,)."""
        keys = [key if isinstance(key, tuple) else (0, key) for key in keys]
        images = torch.empty((len(keys), 3, self.image_size, self.image_size), dtype=torch.uint8)
        state = torch.get_rng_state()
        try:
            for image, (epoch, row) in zip(images, keys, strict=True):
                image.copy_(self._image(epoch, row))
        finally:
            torch.set_rng_state(state)
        return images, torch.tensor([self.labels[row] for _, row in keys])

    def _image(self, epoch: int, row: int) -> Tensor:
        pixels = self.store[row]
        if self.transforms is None:
            return center_crop(pixels, self.image_size)
        seed = hashlib.sha256(f"{self.seed}/{epoch}/{row}".encode()).digest()[:4]
        torch.default_generator.manual_seed(int.from_bytes(seed))  # torch.manual_seed would seed the GPU, too
        if self.copies:
            pixels = pixels.clone()
        for transform in self.transforms:
            pixels = transform(pixels)
        size = self.image_size
        if pixels.dtype != torch.uint8 or pixels.shape != (3, size, size):
            raise UserError(
                f"augment.train gives {pixels.dtype} {tuple(pixels.shape)} instead of torch.uint8 "
                f"(3, {size}, {size}). Crop or resize to image_size={size}, and leave out the "
                "normalization, which follows later."
            )
        return pixels


class ImageDataModule(lightning.LightningDataModule):
    """Train, validation, test and predict loaders of an image data set.

    Batches are images, float32 (B, 3, S, S) normalized by ImageNet's mean and standard deviation, and class ids (B,).
    The loaders themselves yield uint8; `on_after_batch_transfer`, which Lightning calls, normalizes on the device.
    What they yield depends on the tables, `seed` and the epoch only: not on workers, cache, processes or a resume.

    Args:
        root: folder of the data set: with `train.csv, val.csv, train_val.csv, test.csv` (`format="csv"`), with class
            folders (`"folder"`), or where procedural leaves are rendered (`"leaves"`).
        images: image folder, relative to `root` or absolute.
        image_size: side S of the model's input, pixels.
        resize: side of the square that images are resized to before the crop; None: `int(S / 0.875)`.
        batch_size: images per step over all processes together. Each of N processes takes `batch_size // N`.
        protocol: `test` (train on train+val, test), `val` (train, validate), `holdout` (train, validate, test) or `cv`
            (test on one of several stratified folds of all images, train on the others).
        fold, folds: which fold, from 0, and how many; for `protocol="cv"` only.
        groups: for `protocol="cv"`, images that must share a fold, such as those of one photograph: a column of the CSV
            files, or a regular expression whose (first group's) match in the path is the group.
        num_workers: loader processes; None: one per core, at most 8.
        cache: of resized images: `none`, `ram` or `disk` (kept for later runs).
        seed: of the order, the transforms, the folds and the split of `format="folder"`.
        val_fraction, test_fraction: shares of each class's images for `format="folder"`.
        train_images: train on so many images, spread over the table; None: all.
        expected: `classes` and number of images by table; other counts are refused.
        render: `classes, train, val, test, size, seed` of the leaves.
        name: of the data set.
        train_transforms: torchvision v2 transforms, or any callables, from uint8 (3, side, side) to uint8 (3, S, S);
            None: the paper's random crop and horizontal flip. They may draw from torch's generator.
        batch_transform: called with images and targets of a training batch on the device, for MixUp or CutMix.
        predict_images: files, folders and patterns for the predict loader; None: the test (or validation) images.
        progress: show progress bars on a terminal.

    Raises:
        UserError: with all wrong arguments. Errors of the tables are raised when `splits` is first used.
    """

    def __init__(
        self,
        root: str | None,
        *,
        format: Literal["csv", "folder", "leaves"] = "csv",
        images: str = "images",
        image_size: int = 224,
        resize: int | None = None,
        batch_size: int = 32,
        protocol: Literal["test", "val", "holdout", "cv"] = "test",
        fold: int = 0,
        folds: int = 5,
        groups: str | None = None,
        num_workers: int | None = None,
        cache: Literal["none", "ram", "disk"] = "none",
        seed: int = 1,
        val_fraction: float = 0.2,
        test_fraction: float = 0.3,
        train_images: int | None = None,
        expected: Mapping[str, int] | None = None,
        render: Mapping[str, int] | None = None,
        name: str | None = None,
        train_transforms: Sequence[Callable] | None = None,
        batch_transform: Callable | None = None,
        predict_images: Sequence[str] | None = None,
        progress: bool = True,
    ) -> None:
        super().__init__()
        # A checkpoint keeps them, so they are plain values; loggers get the run's own configuration.
        root = None if root is None else str(root)
        expected, render = (dict(each) if isinstance(each, Mapping) else each for each in (expected, render))
        predict_images = [predict_images] if isinstance(predict_images, str | os.PathLike) else predict_images
        predict_images = predict_images and list(map(str, predict_images))
        self.save_hyperparameters(ignore=["train_transforms", "batch_transform"], logger=False)
        self.image_size, self.resize = image_size, resize_side(image_size) if resize is None else resize
        self.batch_size, self.cache, self.seed, self.progress = batch_size, cache, seed, progress
        self.num_workers = WORKERS if num_workers is None else num_workers
        self.train_transforms = paper_transforms(image_size) if train_transforms is None else list(train_transforms)
        self.batch_transform, self.predict_images = batch_transform, predict_images
        # Not from self.hparams, where the arguments of a subclass take the place of those that it passes on.
        arguments, names = locals(), inspect.signature(load_splits).parameters
        self._split_arguments = {name: arguments[name] for name in names}
        self._stores: dict[str, Store] = {}
        errors = []
        if self.resize < image_size:
            errors.append(f"dataset.resize={resize}: expected at least image_size={image_size}, the crop, or null.")
        if self.num_workers < 0:
            errors.append(f"dataset.num_workers={num_workers}: expected at least 0, or null for one per core.")
        if protocol not in PROTOCOLS:
            errors.append(f"protocol={protocol}: expected {', '.join(PROTOCOLS)}.")
        if cache not in CACHES:
            errors.append(f"dataset.cache={cache}: expected {', '.join(CACHES)}.")
        if errors:
            raise UserError(*errors)

    @cached_property
    def splits(self) -> Splits:
        """The tables of the protocol, read on first use.

        Raises:
            UserError: with all errors of the data set.
        """
        return load_splits(**self._split_arguments)

    @property
    def num_classes(self) -> int:
        """Classes of the whole data set."""
        return self.splits.num_classes

    @property
    def class_names(self) -> list[str]:
        """In the order of the class ids."""
        return self.splits.class_names

    @cached_property
    def predict_paths(self) -> list[Path]:
        """The image files of the predict loader, in its order."""
        if self.predict_images is not None:
            return find_images(self.predict_images, "predict_images").paths
        roles = self.splits.roles
        return self.splits.paths(roles.get("test", roles.get("val")))

    def check_images(self) -> None:
        """Decode every image of the protocol once. That they are sound is remembered until a file changes.

        Raises:
            UserError: images are missing or cannot be read; up to ten are named.
        """
        splits = self.splits
        splits.render(self.progress)
        below = {
            path: name
            for table in splits.roles.values()
            for path, name in zip(splits.paths(table), table["dir"], strict=True)
        }
        stamp = None
        with suppress(OSError):  # a file is missing
            stamp = cache_dir() / "checked" / fingerprint(below)
        if stamp is not None:
            is_known = touch(stamp)
            expire(stamp.parent)
            if is_known:
                return
        reasons = decode(below, lambda path: load_image(path) and None, ahead=64)
        reasons = track(reasons, len(below), "checking images", self.progress)
        if broken := [f"{below[path]} ({reason})" for path, reason in reasons if reason]:
            raise UserError(
                f"{len(broken)} of {len(below)} images below {splits.image_root} cannot be read: {first_ten(broken)}."
            )
        if stamp is not None:
            with suppress(OSError):  # without a writable cache folder the check is merely repeated
                stamp.parent.mkdir(parents=True, exist_ok=True)
                stamp.touch()

    def check_batch_size(self, batch_size: int) -> None:
        """See that there are enough training images for a batch; an incomplete one is dropped.

        Raises:
            UserError: there are not.
        """
        if batch_size > (count := len(self.splits.train)):
            raise UserError(f"batch_size={batch_size}: expected at most {count}, the number of training images.")

    def prepare_data(self) -> None:
        """Render the leaves and fill the disk cache, in one process of each machine; the others then find them."""
        self.splits.render(self.progress)
        if self.cache == "disk":
            self.setup(self.trainer.state.fn if self.trainer else None)

    def setup(self, stage: str | None = None) -> None:
        """Open the caches for `fit`, `validate`, `test` or `predict`.

        `fit` opens those of the later test, too: too little memory is found out before the training.
        """
        if stage == "fit":
            self.check_batch_size(self.batch_size)
        for role in {"validate": ["val"], "test": ["test"], "predict": []}.get(stage or "fit", self.splits.roles):
            if role in self.splits.roles:
                self._store(role)

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches, uint8 (B, 3, S, S) and class ids (B,); the last incomplete one is dropped."""
        return self._loader(self._store("train"), self.splits.train["class_id"], training=True)

    def val_dataloader(self) -> DataLoader | list:
        """All validation images in the order of their table, on every process; [] where the protocol has none."""
        return self._eval_loader("val")

    def test_dataloader(self) -> DataLoader | list:
        """All test images in the order of their table, on every process; [] where the protocol has none."""
        return self._eval_loader("test")

    def predict_dataloader(self) -> DataLoader:
        """Batches of images, uint8 (B, 3, S, S), and their positions in `predict_paths` (B,)."""
        paths = self.predict_paths
        return self._loader(NoStore(paths, self.resize), range(len(paths)))

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Normalize the images, and in training mix them (`batch_transform`), on the model's device."""
        images, targets = batch
        images = normalize(images)
        if self.trainer is not None:
            images = self.trainer.precision_plugin.convert_input(images)  # Lightning's own came before this
        if self.batch_transform is not None and self.trainer is not None and self.trainer.training:
            images, targets = self.batch_transform(images, targets)
        return images, targets

    def _store(self, role: str) -> Store:
        if role not in self._stores:
            splits = self.splits
            splits.render(self.progress)
            self._stores[role] = open_store(self.cache, splits.paths(splits.roles[role]), self.resize, self.progress)
        return self._stores[role]

    def _eval_loader(self, role: str) -> DataLoader | list:
        if role not in self.splits.roles:
            # Lightning skips validation when there is no loader.
            warnings.filterwarnings("ignore", "Total length of `list` across ranks is zero")
            return []
        return self._loader(self._store(role), self.splits.roles[role]["class_id"])

    def _loader(self, store: Store, labels: Sequence[int], training: bool = False) -> DataLoader:
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if training and self.trainer else (0, 1)
        transforms = self.train_transforms if training else None
        dataset = ImageDataset(store, labels, self.image_size, transforms, self.seed)
        if training:
            dataset[0]  # transforms that do not fit are reported here, not by a loader process
        sampler = EpochSampler(len(labels), seed=self.seed, shuffle=training, rank=rank, num_replicas=processes)
        on_cuda = self.trainer.strategy.root_device.type == "cuda" if self.trainer else torch.cuda.is_available()
        # Its own generator: from torch's a resumed epoch must draw the same numbers as one that was not interrupted.
        return DataLoader(
            dataset, batch_size=max(1, self.batch_size // processes), sampler=sampler, num_workers=self.num_workers,
            persistent_workers=training and self.num_workers > 0, pin_memory=on_cuda, drop_last=training,
            collate_fn=tuple,  # the data set makes the batches, which stay as they are
            generator=torch.Generator(),
        )  # fmt: skip
