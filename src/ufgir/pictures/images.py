"""Which image files are meant, and what their figures are called."""

from collections import Counter
from collections.abc import Sequence
from glob import glob
from pathlib import Path

import numpy as np

from ufgir.data.folder import image_files

REMEDY = "Give images=FILE, images=FOLDER or a pattern such as images='leaves/*.jpg'."


def find_images(given: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The files that are meant by files, folders and patterns.

    Args:
        given: what `images=` was, each time.

    Returns:
        the files, each once, in the order given and by name within a folder; and a sentence for each fault.
    """
    if not given:
        return [], [f"images= is missing. {REMEDY}"]
    paths, faults = [], []
    for text in given:
        path = Path(text).expanduser()
        if path.is_file():
            found = [path]
        elif path.is_dir():
            found = image_files(path)
        else:
            found = [file for file in map(Path, sorted(glob(str(path), recursive=True))) if file.is_file()]
        if not text or not found:
            is_there = bool(text) and path.is_dir()
            why = "there is no image in this folder" if is_there else "there is no such file, folder or match"
            faults.append(f"images={text}: {why}. {REMEDY}")
        paths += found if text else []
    return list(dict.fromkeys(paths)), faults


def spread(paths: Sequence[Path], limit: int) -> list[Path]:
    """At most `limit` of the paths, evenly spread, the first one among them."""
    if len(paths) <= limit:
        return list(paths)
    return [paths[place] for place in np.linspace(0, len(paths), limit, endpoint=False).astype(int)]


def figure_names(paths: Sequence[Path]) -> list[str]:
    """A file name for the figure of each image: its own or, if several have that, with the folders that part them."""
    names = [path.stem for path in paths]
    for depth in range(1, max((len(path.parts) for path in paths), default=0)):
        twice = {name for name, count in Counter(names).items() if count > 1}
        if not twice:
            break
        names = [
            f"{path.parents[depth - 1].name}-{name}" if name in twice else name
            for name, path in zip(names, paths, strict=True)
        ]
    seen: Counter[str] = Counter()
    for place, name in enumerate(names):  # the same path with another ending
        seen[name] += 1
        names[place] = f"{name}-{seen[name]}" if seen[name] > 1 else name
    return [f"{name}.png" for name in names]
