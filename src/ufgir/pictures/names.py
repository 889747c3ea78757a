"""What the figures of images are called."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def figure_names(paths: Sequence[Path]) -> list[str]:
    """A file name for the figure of each image: its own or, if several have that, with the folders that part them."""
    names = [path.stem for path in paths]
    folders = [[folder.name for folder in path.parents if folder.name] for path in paths]  # the nearest first
    for depth in range(max(map(len, folders), default=0)):
        twice = {name for name, count in Counter(names).items() if count > 1}
        if not twice:
            break
        names = [
            f"{above[depth]}-{name}" if name in twice and depth < len(above) else name
            for name, above in zip(names, folders, strict=True)
        ]
    seen: Counter[str] = Counter()
    for place, name in enumerate(names):  # the same path with another ending
        seen[name] += 1
        names[place] = f"{name}-{seen[name]}" if seen[name] > 1 else name
    return [f"{name}.png" for name in names]
