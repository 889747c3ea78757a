"""Every image of a run is decoded before the run, and only once while it stays as it is."""

import os
import shutil

import pytest

from ufgir.data import check, image_faults, load_source


@pytest.fixture
def source(csv_set, node):
    return load_source(node(csv_set), protocol="test", seed=1)


def test_sound_images_have_no_fault(source):
    assert image_faults(source) == []


def test_missing_truncated_and_foreign_files_are_named(source, picture):
    images = source.paths(source.train)
    images[0].unlink()
    images[1].write_text("no image at all")
    whole = picture(images[2], size=(200, 200)).read_bytes()
    images[2].write_bytes(whole[: len(whole) // 2])
    images[3].write_bytes(b"")
    missing, broken = image_faults(source)
    assert missing == f"1 of 12 images are missing below {source.image_root}: 0_oak/train_0.png"
    assert broken.startswith(f"3 of 12 images below {source.image_root} cannot be read: 0_oak/train_1.png (not an "
                             "image), 1_oak/train_0.png (")
    assert "truncated" in broken
    assert broken.endswith("1_oak/train_1.png (not an image)")


def test_up_to_ten_are_named(source):
    shutil.rmtree(source.image_root)
    (fault,) = image_faults(source)
    assert fault.startswith("12 of 12 images are missing")
    assert fault.endswith("and 2 more")
    assert fault.count(".png") == 10


def test_only_images_of_the_protocol_count(csv_set, node):
    (csv_set / "images" / "0_oak" / "test_0.png").unlink()
    assert image_faults(load_source(node(csv_set), protocol="val", seed=1)) == []


def test_linked_image_folder_is_fine(csv_set, node, tmp_path):
    (csv_set / "images").rename(tmp_path / "elsewhere")
    (csv_set / "images").symlink_to(tmp_path / "elsewhere")
    assert image_faults(load_source(node(csv_set), protocol="test", seed=1)) == []


def test_clean_verdict_is_remembered_until_a_file_changes(source, monkeypatch):
    decoded = []
    load = check.load_image
    monkeypatch.setattr(check, "load_image", lambda path: decoded.append(path) or load(path))
    assert image_faults(source) == [] and len(decoded) == 12
    assert image_faults(source) == [] and len(decoded) == 12
    os.utime(source.paths(source.test)[0], (1, 1))
    assert image_faults(source) == [] and len(decoded) == 24


def test_fault_is_not_remembered(source):
    path = source.paths(source.test)[0]
    path.write_text("broken")
    assert image_faults(source) == image_faults(source) != []


def test_cache_folder_that_cannot_be_written_is_no_fault(source, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("UFGIR_CACHE", str(tmp_path / "file"))
    assert image_faults(source) == []
