"""A killed run, started again, ends as if nothing had happened: bit for bit on the CPU."""

import csv
import random
import signal
import subprocess
import time

import pytest

from tiny import WORDS, command, environment, make_data, results_of, run

EPOCHS = 6
SAME = ("test_top1", "test_top5", "test_loss", "test_images", "weights_sha256", "gmacs", "tokens")


def words(epochs=f"trainer.max_epochs={EPOCHS}"):
    return (*WORDS, "dataset.root=data", epochs)


def numbers(cwd, results):
    (file,) = cwd.glob("outputs/*/metrics.csv")
    return {name: results[name] for name in SAME}, list(csv.reader(file.read_text().splitlines()))


def start(cwd, *more):
    return subprocess.Popen(
        command("train", *words(*more)),
        cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=heed_ctrl_c,
    )  # fmt: skip


def heed_ctrl_c():
    """A shell's background job, which the tests may be, ignores Ctrl-C, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def kill_after_line(process, text):
    """SIGKILL once a line with `text` has been printed; the lines until then."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert text in lines[-1], "".join(lines)
    return lines


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("undisturbed")
    make_data(cwd / "data")
    return numbers(cwd, results_of(run("train", *words(), cwd=cwd), cwd))


def test_killed_in_mid_epoch(tmp_path, undisturbed):
    make_data(tmp_path / "data")
    kill_after_line(start(tmp_path), "epoch 3/")
    (folder,) = (tmp_path / "outputs").iterdir()
    assert not (folder / "results.json").exists()
    resumed = run("train", *words(), cwd=tmp_path)
    assert "epoch 1/" not in resumed.stdout, "it went on instead of starting again"
    assert numbers(tmp_path, results_of(resumed, tmp_path)) == undisturbed


def test_ctrl_c_is_told_how_to_go_on(tmp_path):
    make_data(tmp_path / "data")
    process = start(tmp_path, "trainer.max_epochs=1000")
    for line in process.stdout:
        if "epoch 2/" in line:
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; the same command goes on from the last whole epoch" in rest
    assert "Traceback" not in rest
    assert list(tmp_path.glob("outputs/*/last.ckpt")) and not list(tmp_path.glob("outputs/*/results.json"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_ten_times_at_random(tmp_path):
    """Ten kills in a row on one run, wherever they hit: starting up, in an epoch, saving."""
    folders = [tmp_path / "undisturbed", tmp_path / "killed"]
    for folder in folders:
        make_data(folder / "data")
    long = "trainer.max_epochs=120"
    undisturbed = numbers(folders[0], results_of(run("train", *words(long), cwd=folders[0], timeout=400), folders[0]))
    rng = random.Random(0)
    for kill in range(10):
        with start(folders[1], long) as process:
            if kill % 4 == 0:
                time.sleep(rng.uniform(1, 4))  # while it starts
            else:
                epochs = (line for line in process.stdout if line.startswith("epoch "))
                for _ in range(rng.randint(1, 8)):
                    next(epochs)
                time.sleep(rng.uniform(0, 0.1))
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL, "it was still at work"
    completed = run("train", *words(long), cwd=folders[1], timeout=400)
    assert "epoch 1/" not in completed.stdout
    assert numbers(folders[1], results_of(completed, folders[1])) == undisturbed


def test_a_second_process_is_refused_and_told_of_the_first(tmp_path):
    make_data(tmp_path / "data")
    long = "trainer.max_epochs=1000"
    first = start(tmp_path, long)
    for line in first.stdout:
        if "epoch 1/" in line:
            break
    second = run("train", *words(long), cwd=tmp_path)
    first.kill()
    first.communicate()
    assert second.returncode == 2
    assert f"is being worked on by process {first.pid} on " in second.stderr
    assert "Traceback" not in second.stderr
