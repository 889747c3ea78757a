"""All caches hold the same pixels; what is no longer used goes; what cannot be written is refused."""

import os
import pickle
import time

import pytest
import torch

from ufgir.data import cache as caches
from ufgir.data.cache import open_store
from ufgir.errors import UserError


@pytest.fixture
def paths(tmp_path, picture):
    return [picture(tmp_path / f"{number}.png", number) for number in range(3)]


def pixels(store):
    return torch.stack([store[row] for row in range(3)])


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_cache_changes_no_pixel(paths, cache):
    plain, store = open_store("none", paths, 16), open_store(cache, paths, 16)
    assert pixels(plain).shape == (3, 3, 16, 16) and pixels(plain).dtype == torch.uint8
    assert torch.equal(pixels(store), pixels(plain))
    assert torch.equal(pixels(pickle.loads(pickle.dumps(store))), pixels(plain))


def test_disk_cache_is_found_again_until_an_image_or_the_size_changes(paths, picture, monkeypatch):
    pixels(store := open_store("disk", paths, 16))
    assert len(pickle.dumps(store)) < 2000  # a loader process maps the file for itself
    with monkeypatch.context() as patch:
        patch.setattr(caches, "resized_pixels", lambda *_: pytest.fail("decoded again"))
        open_store("disk", paths, 16)[0].zero_()  # a transform that works in place does not reach the file
    assert pixels(open_store("disk", paths, 8)).shape == (3, 3, 8, 8)
    assert torch.equal(pixels(open_store("disk", paths, 16)), pixels(open_store("none", paths, 16)))
    picture(paths[1], number=99, size=(30, 30))
    assert torch.equal(pixels(open_store("disk", paths, 16)), pixels(open_store("none", paths, 16)))


def test_disk_cache_leaves_only_whole_files_and_needs_a_folder(paths, cache, monkeypatch):
    paths[2].write_text("broken")
    with pytest.raises(UserError, match="2.png cannot be read: not an image"):
        open_store("disk", paths, 16)
    assert list((cache / "images").iterdir()) == []
    monkeypatch.setenv("UFGIR_CACHE", str(paths[0]))
    with pytest.raises(UserError, match="dataset.cache=disk .* UFGIR_CACHE"):
        open_store("disk", paths, 16)
    with pytest.raises(UserError, match="dataset.cache=ram .*dataset.cache=disk"):
        open_store("ram", paths, 2**27)


def test_entries_that_were_not_used_for_30_days_are_deleted(paths):
    files = [open_store("disk", paths[:count], 16).file for count in (1, 2, 3)]
    for file, days in zip(files, (31, 29, 31), strict=True):
        os.utime(file, (time.time() - days * 86400,) * 2)
    open_store("disk", paths, 16)  # the third is used again
    assert [file.exists() for file in files] == [False, True, True]
    assert time.time() - files[2].stat().st_mtime < 60
