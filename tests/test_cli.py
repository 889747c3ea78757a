"""How commands end when they are interrupted, or when the machine refuses them something."""

import signal
import subprocess
import time

import pytest

from tiny import command, environment, make_data, make_run
from ufgir.cli import run_command


def interrupted(_):
    raise KeyboardInterrupt


def test_ctrl_c_is_told_what_is_left(capsys):
    assert run_command(interrupted, []) == 130
    assert capsys.readouterr().err == "interrupted; nothing half-written is left; the same command starts again\n"
    assert run_command(interrupted, [], after_ctrl_c="the rest is here") == 130
    assert capsys.readouterr().err == "interrupted; the rest is here\n"


def test_what_is_not_of_the_machine_is_raised():
    def wrong(_):
        raise FileNotFoundError(2, "No such file or directory", "x")

    with pytest.raises(FileNotFoundError):
        run_command(wrong, [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "words", "told"),
    [
        ("predict", ["out=mine.csv", "batch_size=1"], "nothing was written; the same command starts again"),
        ("visualize", ["out=figures", "limit=4000"], "the figures drawn until then stay, whole"),
    ],
)
def test_ctrl_c_while_images_are_used(tmp_path, module, words, told):
    run = make_run(tmp_path / "run", make_data(tmp_path / "data"))
    many = tmp_path / "many"
    many.mkdir()
    for number in range(4000):
        (many / f"{number}.png").hardlink_to(tmp_path / "data/images/kind_0/test_0.png")
    before = {"run", "data", "many"}
    started = command(module, f"run={run.path}", f"images={many}", *words)
    heed = dict(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # a background job would ignore it
    streams = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(started, cwd=tmp_path, env=environment(), **streams, **heed) as process:
        while {path.name for path in tmp_path.iterdir()} == before and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said == f"interrupted; {told}\n"
    left = {path.name for path in tmp_path.iterdir()} - before
    assert left == (set() if module == "predict" else {"figures"})
    assert not [path for path in tmp_path.rglob(".*") if path.is_file() and path.suffix != ".lock"]
