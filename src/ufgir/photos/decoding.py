"""Images decoded in the background, never many of them at a time."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ufgir.data.images import why_unreadable
from ufgir.data.transforms import cut_for_test

MOST_THREADS = 8


def decoded(paths: Iterable[Path], side: int, size: int, ahead: int) -> Iterator[tuple[Path, np.ndarray | str]]:
    """The images in their order, as the test pass cuts them.

    Threads will do: pillow decodes and resizes without the interpreter's lock.

    Args:
        paths: image files.
        side: side of the resize, pixels.
        size: side of the crop, pixels.
        ahead: images that may wait decoded, which bounds the memory.

    Yields:
        each path with its pixels, uint8 (size, size, 3), or with the reason why it cannot be read.
    """
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        waiting: deque = deque()
        for path in paths:
            waiting.append((path, pool.submit(_pixels_or_reason, path, side, size)))
            if len(waiting) > ahead:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())


def _result(path: Path, future) -> tuple[Path, np.ndarray | str]:
    return path, future.result()


def _pixels_or_reason(path: Path, side: int, size: int) -> np.ndarray | str:
    try:
        return cut_for_test(path, side, size)
    except Exception as error:  # decoders raise almost anything on a damaged file
        return why_unreadable(error)
