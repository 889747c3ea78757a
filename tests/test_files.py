"""Files are written whole or not at all, and what keeps them from it is told before or after."""

import errno
import os

import pytest
import torch

from tiny import files_up_to
from ufgir.errors import RunFailed, UserError
from ufgir.files import append_whole, folder_faults, place_faults, refusal, saving, written_whole


def test_a_file_that_grows_too_large_leaves_the_earlier_one(tmp_path):
    file = tmp_path / "numbers"
    file.write_text("earlier")
    with files_up_to(10_000), pytest.raises(OSError, match="File too large .*4.00 KiB needed") as caught:
        with written_whole(file, "wb", needed=4096) as stream:
            stream.write(bytes(20_000))
    assert caught.value.filename == str(file) and os.listdir(tmp_path) == ["numbers"]
    assert file.read_text() == "earlier"


def test_what_torch_makes_of_a_full_disk(tmp_path):
    with files_up_to(10_000), pytest.raises(OSError, match=r"File too large \(more than .* needed\)"):
        with written_whole(tmp_path / "weights", "wb") as stream:
            torch.save(torch.zeros(100_000), stream)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_says_how_much_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2048}))
    with pytest.raises(OSError, match=r"No space left on device \(1.00 MiB needed, 2.00 KiB free\)"):
        with written_whole(tmp_path / "weights", "wb", needed=2**20):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert refusal(ValueError("another")) is None


def test_text_is_appended_whole(tmp_path):
    file = tmp_path / "table.csv"
    append_whole(file, "step,loss\n")
    with files_up_to(20), pytest.raises(OSError, match="File too large"):
        append_whole(file, "1,0.5\n2,0.25\n3,0.125\n")
    assert file.read_text() == "step,loss\n"
    append_whole(file, "1,0.5\n")
    assert file.read_text() == "step,loss\n1,0.5\n"


def test_places_are_tried_beforehand_and_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    assert place_faults("out", tmp_path / "x.csv") == folder_faults("out", tmp_path / "x") == []
    relative = type(tmp_path)
    assert folder_faults("out", relative("x")) == [] and folder_faults("out", relative("a/b/c"), deep=True) == []
    assert folder_faults("out", relative("a/b")) == ["out=a/b: there is no folder a"]
    assert folder_faults("out", relative("taken/b"), deep=True) == [
        "out=taken/b: taken is a file, not a folder; give another place."
    ]
    if relative("/sys").is_dir():  # where not even the superuser may make a file
        assert folder_faults("out", relative("/sys/a/b"), deep=True)[0].startswith("out=/sys/a/b cannot be written (")
    assert os.listdir(tmp_path) == ["taken"]


def test_a_lost_permission_is_for_the_user_and_a_full_disk_is_a_failure(tmp_path):
    with pytest.raises(UserError, match="out=.* cannot be written: Permission denied. Ask for it.$"):
        with saving("out", tmp_path, "Ask for it."):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    with pytest.raises(RunFailed, match="out=.* cannot be written: Disk quota exceeded.$"):
        with saving("out", tmp_path, "Ask for it."):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
