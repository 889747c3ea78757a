"""The order of the images, and the generators of all that is random about them."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

ORDER, IMAGE = 0, 1  # so that the order of an epoch and the draws of its images never share a stream


def image_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one image (row `index` of the training table) in one epoch.

    It depends on nothing else, so workers, cache, devices and a resumed run draw the same numbers.
    """
    return np.random.default_rng((IMAGE, seed, epoch, index))


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields `(epoch, index)`; the order depends on `(seed, epoch)` only.

    With several processes each takes every `world_size`-th index of the same order, and all take equally many, so that
    a global batch is the same set of images as one process would see with a batch of that size.

    Args:
        length: number of images.
        shuffle: a new order each epoch, else 0, 1, 2, ...
    """

    def __init__(self, length: int, *, seed: int, shuffle: bool, rank: int = 0, world_size: int = 1) -> None:
        self.length, self.seed, self.shuffle = length, seed, shuffle
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            np.random.default_rng((ORDER, self.seed, self.epoch)).shuffle(order)
        shared = order[: len(self) * self.world_size]
        return ((self.epoch, int(index)) for index in shared[self.rank :: self.world_size])
