"""Are all images of a run there and whole? Asked before the first step, and asked anew only when a file has changed."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ufgir.data.fingerprint import cache_folder, fingerprint
from ufgir.data.images import load_image, why_unreadable
from ufgir.data.progress import tracked
from ufgir.data.source import Source
from ufgir.data.wording import listed


def image_faults(source: Source, progress: bool = True) -> list[str]:
    """Missing images, and files that cannot be decoded to the end, of both tables of the protocol.

    A clean verdict is remembered in the user's cache folder until a file's place, size or time of change differs.

    Returns:
        at most two sentences, each naming up to ten images.
    """
    root = source.image_root
    paths = list(dict.fromkeys(source.paths(source.train) + source.paths(source.test)))
    there = [path for path in paths if os.path.isfile(path)]
    faults = []
    if len(there) < len(paths):
        missing = [_below(path, root) for path in sorted(set(paths) - set(there))]
        faults.append(f"{len(missing)} of {len(paths)} images are missing below {root}: {listed(missing)}")
    stamp = cache_folder() / "checked" / fingerprint(there)
    if stamp.exists():
        return faults
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        verdicts = list(tracked(pool.map(_broken, there), len(there), "checking images", progress))
    broken = [f"{_below(path, root)} ({why})" for path, why in zip(there, verdicts, strict=True) if why]
    if broken:
        faults.append(f"{len(broken)} of {len(paths)} images below {root} cannot be read: {listed(broken)}")
    else:
        _remember(stamp)
    return faults


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _broken(path: Path) -> str | None:
    """Why an image cannot be decoded, or None."""
    try:
        load_image(path)
    except Exception as error:  # decoders raise almost anything on a damaged file
        return why_unreadable(error)
    return None


def _remember(stamp: Path) -> None:
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
    except OSError:
        pass  # without a writable cache folder the check is merely repeated
