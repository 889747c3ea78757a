"""Paths that the system cannot even look for are told in a line by every command that takes a path."""

from pathlib import Path

import pytest
from PIL import Image

import ufgir
from tiny import make_data, make_run
from ufgir.authors import authors
from ufgir.cli import run_command
from ufgir.config import compose_run
from ufgir.data import collect
from ufgir.errors import UserError
from ufgir.evaluate import evaluate
from ufgir.files import typed_path
from ufgir.predict import predict
from ufgir.prepare import parse, prepare
from ufgir.report import report
from ufgir.visualize import visualize

NOBODY = "~no-such-user"
LONG = "x" * 300  # more letters than a name may have
SAID = {
    NOBODY: f"={NOBODY}: {NOBODY} is nobody's home folder here; a file of this name is ./{NOBODY}",
    LONG: f"={LONG} cannot be used: File name too long; give another path.",
}
READ = (
    (predict, "images", "run=run"),
    (predict, "run", "images=leaf.png"),
    (visualize, "checkpoint", "images=leaf.png"),
    (report, "runs", "out=new"),
    (authors, "checkpoint", "out=new"),
    (lambda words: prepare(parse(words)), "raw", "out=new"),
)
WRITTEN = (
    (predict, "images=leaf.png"),
    (visualize, "images=leaf.png"),
    (evaluate, "run=run"),
    (report, "runs=."),
    (authors, "checkpoint=leaf.png"),
    (lambda words: prepare(parse(words)), "raw=."),
)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (50, 40), "green").save("leaf.png")
    return tmp_path


@pytest.mark.parametrize("text", SAID, ids=["nobody", "long"])
def test_words_that_name_what_is_read(here, text, capsys):
    for command, word, other in READ:
        assert run_command(command, [f"{word}={text}", other]) == 2
        assert f"{word}{SAID[text]}" in capsys.readouterr().err, command
    assert [path.name for path in here.iterdir()] == ["leaf.png"]


@pytest.mark.parametrize("text", SAID, ids=["nobody", "long"])
def test_words_that_name_what_is_written(here, text, capsys):
    for command, other in WRITTEN:
        assert run_command(command, [f"out={text}", other]) == 2
        assert f"out{SAID[text]}" in capsys.readouterr().err, command
    assert [path.name for path in here.iterdir()] == ["leaf.png"]


@pytest.mark.parametrize("text", SAID, ids=["nobody", "long"])
def test_settings_of_a_run(text):
    for setting in ("output_root", "backbone.checkpoint"):
        assert compose_run([f"{setting}='{text}'"])[1] == [f"{setting}{SAID[text]}"]
    for setting in ("root", "images"):
        dataset = {"name": "csv", "format": "csv", "root": ".", "images": ".", "expected": None, setting: text}
        assert collect(dataset, protocol="test", seed=1)[1][0] == f"dataset.{setting}{SAID[text]}"


def test_from_python(here, monkeypatch):
    make_run(here / "outputs" / "run", make_data(here / "data"))
    monkeypatch.setenv("HOME", str(here))
    assert ufgir.load("~/outputs/run").class_names == ufgir.load(Path("outputs/run/model.pt")).class_names
    for text, said in SAID.items():
        with pytest.raises(UserError) as refused:
            ufgir.load(text)
        assert str(refused.value) == f"checkpoint{said}"


def test_home_folders_are_expanded(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    assert typed_path("out", "~/leaf.png") == (here / "leaf.png", [])
    assert typed_path("out", "leaf.png/below") == (Path("leaf.png/below"), []), "whether it is there is not asked"
    (here / "round").symlink_to("round")
    assert typed_path("out", "round")[1] == [
        "out=round cannot be used: Too many levels of symbolic links; give another path."
    ]
