"""`python -m ufgir.predict`: the test's answers for any images, and what becomes of those that cannot be read."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tiny import environment
from ufgir.cli import run_command
from ufgir.data.images import load_image
from ufgir.errors import UserError
from ufgir.evaluate import main as evaluate
from ufgir.predict import main


@pytest.fixture
def photos(here) -> Path:
    """Two images, one of them further down, and things to pass over."""
    for place in ("photos/10.png", "photos/2/deep/leaf.JPG", "photos/.hidden.png", "photos/.cache/x.png"):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), "green").save(place)
    for place in ("photos/notes.txt", "photos/labels.pdf", "photos/2/table.csv"):
        Path(place).write_text("no image")
    return here


def rows(file="predictions.csv"):
    return list(csv.DictReader(Path(file).read_text().splitlines()))


def refusal(*arguments):
    with pytest.raises(UserError) as caught:
        main([*arguments])
    return str(caught.value)


def test_on_the_test_images_it_says_what_the_evaluation_says(here):
    assert evaluate(["run=run", "dataset.root=da,ta (1)", "out=evaluated.json"]) == 0
    evaluated = pd.read_csv("evaluated/predictions.csv")
    Path("tested").mkdir()
    for number, path in enumerate(evaluated["path"]):
        Path(f"tested/{number}{Path(path).suffix}").symlink_to(path)
    assert main(["checkpoint=run/model.pt", "images=tested", "batch_size=4"]) == 0
    predicted = pd.read_csv("predictions.csv")
    assert predicted["path"].tolist() == [f"tested/{number}.png" for number in range(8)]
    answers = [name for name in predicted if name != "path"]
    assert answers == ["top1", "probability1", "top2", "probability2", "top3", "probability3", "top4", "probability4"]
    pd.testing.assert_frame_equal(predicted[answers], evaluated[answers], check_exact=True)


def test_a_user_classifies_a_folder(photos, run_ufgir):
    Path("photos/2/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    Path("photos/2/te,xt (1).png").write_text("no image")
    Path("photos/gone.jpg").symlink_to("nowhere")
    arguments = ("run=run", "images=photos", "images=photos/2/te,xt (1).png", "out=mi,ne (1).csv", "show=true")
    done = run_ufgir("predict", *arguments, "batch_size=1")
    assert done.code == 3, done.err
    assert [row["path"] for row in rows("mi,ne (1).csv")] == ["photos/10.png", "photos/2/deep/leaf.JPG"]
    assert {row["top1"] for row in rows("mi,ne (1).csv")} <= {"kind_0", "kind_1", "kind_2", "kind_3"}
    assert sorted(line.split(" (")[0] for line in done.err.splitlines()) == [
        "skipped: photos/2/broken.jpg", "skipped: photos/2/te,xt", "skipped: photos/gone.jpg",
    ]  # fmt: skip
    assert "2 of 5 images classified" in done.out and done.out.endswith("predictions: mi,ne (1).csv\n")
    assert load_image(Path("mi,ne (1).png")).width > 600


def test_names_that_are_no_unicode(photos):
    os.rename(b"photos/10.png", b"photos/\xff.png")
    assert main(["run=run", "images=photos", "show=true"]) == 0
    assert "photos/\\udcff.png" in [row["path"] for row in rows()]


def test_what_cannot_be_classified_leaves_nothing(photos):
    Path("empty").mkdir()
    Path("bad").mkdir()
    Path("bad/a.png").write_text("no image")
    before = sorted(photos.iterdir())
    assert "images=empty" in refusal("run=run", "images=empty")
    assert "bad/a.png (not an image)" in refusal("run=run", "images=bad")
    assert "Did you mean 'photos'" in refusal("run=run", "images=photo")
    assert "run=photos" in refusal("run=photos", "images=photos")
    message = refusal("show=perhaps", "batch_size=0", "image=photos")
    assert all(part in message for part in ("show=perhaps", "batch_size=0", "images: missing", "Did you mean 'images'"))
    for out in ("photos/10.png", "nowhere/x.csv", "~no-such-user/x.csv", "x" * 300):
        assert f"out={out}" in refusal("run=run", "images=photos", f"out={out}")
    for path in ("~no-such-user", "x" * 300):
        assert f"images={path}" in refusal("run=run", f"images={path}")
        assert f"run={path}" in refusal(f"run={path}", "images=photos")
    assert sorted(photos.iterdir()) == before


def test_a_refusal_ends_with_exit_code_2(here, capsys):
    assert run_command(main, ["run=nowhere", "images=da,ta (1)"]) == 2
    assert capsys.readouterr().err.startswith("run=nowhere")


MEMORY = """
import resource, sys
from ufgir.predict import main
for folder in ("few", "many"):
    assert main(["run=run", f"images={folder}", f"out={folder}.csv", "show=true"]) == 0
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_is_steady_over_ten_thousand_images(photos):
    for folder, count in (("few", 200), ("many", 10_000)):
        Path(folder).mkdir()
        for number in range(count):
            os.link("photos/10.png", f"{folder}/{number}.png")
    command = [sys.executable, "-c", MEMORY]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    few, many = (int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("peak"))
    assert many - few < 40, "MiB, of 10,000 images of which each takes 3 KiB as pixels and 12 KiB as floats"
    assert len(rows("many.csv")) == 10_000
