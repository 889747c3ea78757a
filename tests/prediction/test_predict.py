"""`python -m ufgir.predict`: the test's answers for any images, and what becomes of those that cannot be read."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tiny import environment, make_data, make_run, run
from ufgir.cli import run_command
from ufgir.data.images import load_image
from ufgir.errors import UserError
from ufgir.evaluate import evaluate
from ufgir.photos import decoded
from ufgir.predict import predict


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A data set in `data` and a finished run in `run`."""
    folder = tmp_path_factory.mktemp("predict")
    make_run(folder / "run", make_data(folder / "data"))
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    """That run as `run` of a working folder with two images, one of them further down, and things to pass over."""
    monkeypatch.setenv("UFGIR_CACHE", str(trained / ".cache"))
    monkeypatch.chdir(tmp_path)
    Path("run").symlink_to(trained / "run")
    Path("data").symlink_to(trained / "data")
    for place in ("photos/10.png", "photos/2/deep/leaf.JPG", "photos/.hidden.png", "photos/.cache/x.png"):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), "green").save(place)
    for place in ("photos/notes.txt", "photos/labels.pdf", "photos/2/table.csv"):
        Path(place).write_text("no image")
    return tmp_path


def rows(file="predictions.csv"):
    return list(csv.DictReader(Path(file).read_text().splitlines()))


def refusal(*words):
    with pytest.raises(UserError) as caught:
        predict([*words])
    return str(caught.value)


def test_on_the_test_images_it_says_what_the_evaluation_says(here):
    assert evaluate(["run=run", "out=evaluated.json"]) == 0
    evaluated = pd.read_csv("evaluated/predictions.csv")
    Path("tested").mkdir()
    for number, path in enumerate(evaluated["path"]):
        Path(f"tested/{number}{Path(path).suffix}").symlink_to(path)
    assert predict(["checkpoint=run/model.pt", "images=tested", "batch_size=4"]) == 0
    predicted = pd.read_csv("predictions.csv")
    assert predicted["path"].tolist() == [f"tested/{number}.png" for number in range(8)]
    answers = [name for name in predicted if name != "path"]
    assert answers == ["top1", "probability1", "top2", "probability2", "top3", "probability3", "top4", "probability4"]
    pd.testing.assert_frame_equal(predicted[answers], evaluated[answers], check_exact=True)


def test_a_user_classifies_a_folder(here):
    Path("photos/2/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    Path("photos/2/text.png").write_text("no image")
    Path("photos/gone.jpg").symlink_to("nowhere")
    done = run("predict", "run=run", "images=photos", "out=mine.csv", "show=true", "batch_size=1", cwd=here)
    assert done.returncode == 3, done.stderr
    assert [row["path"] for row in rows("mine.csv")] == ["photos/10.png", "photos/2/deep/leaf.JPG"]
    assert {row["top1"] for row in rows("mine.csv")} <= {"kind_0", "kind_1", "kind_2", "kind_3"}
    assert sorted(line.split(" (")[0] for line in done.stderr.splitlines()) == [
        "skipped: photos/2/broken.jpg", "skipped: photos/2/text.png", "skipped: photos/gone.jpg",
    ]  # fmt: skip
    assert "photos/2/text.png (not an image)" in done.stderr
    assert "photos/gone.jpg (No such file or directory)" in done.stderr
    assert "2 of 5 images classified" in done.stdout and done.stdout.endswith("predictions: mine.csv\n")
    assert load_image(Path("mine.png")).width > 600


def test_one_image(here):
    assert predict(["run=run", "images=photos/10.png"]) == 0
    assert [row["path"] for row in rows()] == ["photos/10.png"]
    assert not Path("predictions.png").exists()


def test_links_and_pipes_end(here):
    os.mkfifo("photos/pipe.png")
    Path("photos/2/above").symlink_to(here / "photos")
    Path("photos/linked").symlink_to(here / "data/images/kind_1")
    assert predict(["run=run", "images=photos"]) == 0
    assert len(rows()) == 2 + 6


def test_names_that_are_no_unicode(here):
    os.rename(b"photos/10.png", b"photos/\xff.png")
    assert predict(["run=run", "images=photos", "show=true"]) == 0
    assert "photos/\\udcff.png" in [row["path"] for row in rows()]


def test_a_folder_that_cannot_be_looked_into(here, monkeypatch, capsys):
    def closed(path):
        if Path(path).name in shut:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    scandir, shut = os.scandir, {"deep"}
    monkeypatch.setattr(os, "scandir", closed)
    assert predict(["run=run", "images=photos"]) == 3
    assert capsys.readouterr().err == "skipped: photos/2/deep (Permission denied)\n"
    assert [row["path"] for row in rows()] == ["photos/10.png"]
    shut.add("photos")
    assert refusal("run=run", "images=photos") == "images=photos cannot be read: Permission denied."


def test_nothing_that_could_be_classified_leaves_nothing(here):
    Path("empty").mkdir()
    Path("empty/notes.txt").write_text("no image")
    Path("bad").mkdir()
    Path("bad/a.png").write_text("no image")
    before = {path.name for path in here.iterdir()}
    assert "images=empty holds no images, in subfolders neither; looked for .jpg" in refusal("run=run", "images=empty")
    assert "none of the 1 images can be read: bad/a.png (not an image)" in refusal("run=run", "images=bad")
    assert "Did you mean images=photos?" in refusal("run=run", "images=photo")
    assert {path.name for path in here.iterdir()} == before


def test_all_faults_of_the_words_in_one_message(here):
    message = refusal("show=yes", "batch_size=0", "out=photos/10.png", "image=photos")
    for part in (
        "6 faults",
        "image=photos is not understood",
        "Did you mean images?",
        "give either run=DIR",
        "images= is missing",
        "show=yes: expected true or false",
        "batch_size=0: expected a whole number of at least 1",
        "out=photos/10.png: expected a file that ends in .csv",
    ):
        assert part in message
    assert load_image(Path("photos/10.png")).size == (50, 40)


def test_places_that_cannot_be_written_to(here):
    Path("taken").write_text("")
    words = ("run=run", "images=photos")
    assert "out=taken/x.csv: there is no folder taken" in refusal(*words, "out=taken/x.csv")
    Path("x.csv").mkdir()
    assert "out=x.csv is a folder" in refusal(*words, "out=x.csv")
    Path("y.png").mkdir()
    assert "out=y.png is a folder" in refusal(*words, "out=y.csv", "show=true")
    if Path("/sys").is_dir():  # where not even the superuser may make a file
        assert "out=/sys/x.csv cannot be written (" in refusal(*words, "out=/sys/x.csv")


def test_a_refusal_ends_with_exit_code_2(here, capsys):
    assert run_command(predict, ["run=photos", "images=photos"]) == 2
    assert capsys.readouterr().err.startswith("run=photos is not the folder of a run")


def test_only_a_few_images_wait_decoded():
    asked = []

    def paths():
        for number in range(100):
            asked.append(number)
            yield Path(f"missing_{number}.png")

    images = decoded(paths(), 36, 32, ahead=5)
    assert next(images) == (Path("missing_0.png"), "No such file or directory")
    assert len(asked) == 6
    images.close()


MEMORY = """
import resource, sys
from ufgir.predict import predict
for folder in ("few", "many"):
    assert predict(["run=run", f"images={folder}", f"out={folder}.csv", "show=true"]) == 0
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_is_steady_over_ten_thousand_images(here):
    for folder, count in (("few", 200), ("many", 10_000)):
        Path(folder).mkdir()
        for number in range(count):
            os.link("photos/10.png", f"{folder}/{number}.png")
    command = [sys.executable, "-c", MEMORY]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    few, many = (int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("peak"))
    assert many - few < 40, "MiB, of 10,000 images of which each takes 3 KiB as pixels and 12 KiB as floats"
    with Path("many.csv").open() as file:
        assert sum(1 for _ in file) == 10_001
