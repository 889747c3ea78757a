"""The images that files, folders and patterns stand for."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import TypeVar

from ufgir.config.messages import did_you_mean, nearest
from ufgir.data.folder import natural
from ufgir.data.images import image_endings
from ufgir.data.wording import reason
from ufgir.files import typed_path
from ufgir.photos.skipped import Skipped

Item = TypeVar("Item")
REMEDY = "Give images=FILE, images=FOLDER or a pattern such as images='leaves/*.jpg'."


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, evenly spread over them, the first one among them."""
    if len(items) <= most:
        return list(items)
    return [items[number * len(items) // most] for number in range(most)]


@dataclass
class Found:
    """What is meant.

    Attributes:
        images: files, each once, in the order given; those of a folder have the ending of an image, whatever is in
            them, and are in the order of people (2 before 10).
        closed: folders that cannot be looked into.
    """

    images: list[Path] = field(default_factory=list)
    closed: list[Skipped] = field(default_factory=list)


def named_images(arguments: Sequence[str]) -> list[str]:
    """The values of all words `images=` of a command line: this word may be given several times."""
    return [word.partition("=")[2] for word in arguments if word.startswith("images=")]


def find_images(given: Sequence[str]) -> tuple[Found, list[str]]:
    """Look for what the values of `images=` name: a file, all images below a folder, or the matches of a pattern.

    Returns:
        what was found, and a sentence for each fault.
    """
    if not given:
        return Found(), [f"images= is missing. {REMEDY}"]
    found, faults = Found(), []
    for text in given:
        path, misread = typed_path("images", text)
        if misread:
            faults += misread
            continue
        if text and path.is_dir():
            part = _below(path)
            faults += _folder_faults(text, path, part)
        else:
            part = Found([path] if path.is_file() else _matches(path))
            faults += [] if part.images else [_not_there(text, path)]
        found.images += part.images
        found.closed += part.closed
    found.images = list(dict.fromkeys(found.images))
    return found, faults


def _matches(pattern: Path) -> list[Path]:
    files = [file for file in map(Path, glob(str(pattern), recursive=True)) if file.is_file()]
    return sorted(files, key=lambda file: [natural(part) for part in file.parts])


def _below(given: Path) -> Found:
    """All images below a folder: nothing hidden, and linked folders once."""
    found, endings, seen = Found(), image_endings(), set()

    def note(error: OSError) -> None:
        found.closed.append((Path(error.filename), reason(error)))

    for folder, folders, names in os.walk(given, onerror=note, followlinks=True):
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural)
        if (real := os.path.realpath(folder)) in seen:  # a link to a folder above it would never end
            folders.clear()
            continue
        seen.add(real)
        images = (name for name in names if not name.startswith(".") and os.path.splitext(name)[1].lower() in endings)
        paths = (Path(folder, name) for name in sorted(images, key=natural))
        # No pipes, whose reader would wait for ever; a link to nothing is an image that cannot be read.
        found.images += [path for path in paths if path.is_file() or path.is_symlink()]
    return found


def _folder_faults(text: str, folder: Path, found: Found) -> list[str]:
    if found.images:
        return []
    if found.closed and found.closed[0][0] == folder:
        return [f"images={text} cannot be read: {found.closed[0][1]}."]
    usual = ", ".join(ending for ending in (".jpg", ".png", ".tif", ".bmp", ".webp") if ending in image_endings())
    return [f"images={text} holds no images, in subfolders neither; looked for {usual} and the like."]


def _not_there(text: str, path: Path) -> str:
    beside = [other.name for other in path.parent.iterdir()] if text and path.parent.is_dir() else []
    near = did_you_mean([f"images={path.parent / name}" for name in nearest(path.name, beside)])
    return f"images={text}: there is no such file, folder or match. {REMEDY}{near}"
