"""`python -m ufgir.visualize`, and the pictures at the end of training."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from tiny import WORDS, make_data
from ufgir.cli import run_command
from ufgir.data import load_source
from ufgir.errors import UfgirWarning
from ufgir.pictures.figure import GAP
from ufgir.runs.plan import plan_run
from ufgir.runs.start import start_run
from ufgir.runs.token_pictures import draw_tokens
from ufgir.runs.trained import find_trained
from ufgir.visualize import visualize


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The folder of a run that drew its pictures."""
    cwd = tmp_path_factory.mktemp("trained")
    make_data(cwd / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        start_run(plan_run([*WORDS, "dataset.root=data", "trainer.max_epochs=1", "callbacks.tokens=true"]))
    (results,) = cwd.glob("outputs/*/results.json")
    return results.parent


@pytest.fixture
def images(folder) -> Path:
    """The folder of all images of the run's data set."""
    return folder.parents[1] / "data" / "images"


@pytest.fixture
def draw(folder, tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder on the run: exit code, and what it said on both streams."""
    monkeypatch.chdir(tmp_path)

    def run_it(*words: str) -> tuple[int, str, str]:
        given = words if any(word.startswith("checkpoint=") for word in words) else (f"run={folder}", *words)
        code = run_command(visualize, given)
        return code, *capsys.readouterr()

    return run_it


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_training_ends_with_pictures_of_test_images(folder):
    assert names(folder / "tokens") == [f"kind_{number}-test_0.png" for number in range(4)]


def test_a_finished_training_is_not_lost_for_a_picture(folder, tmp_path):
    model = torch.nn.Linear(1, 1)  # which has no tokens
    trained = find_trained({"run": str(folder)})
    source = load_source(trained.config["dataset"], protocol="test", seed=1)
    with pytest.warns(UfgirWarning, match="callbacks.tokens could not be drawn"):
        assert draw_tokens(tmp_path / "tokens", trained.config, source, model, 1.0) == []


def test_nor_for_the_name_of_one(folder, tmp_path, monkeypatch):
    def broken(paths):
        raise IndexError("no such folder")

    monkeypatch.setattr("ufgir.runs.token_pictures.figure_names", broken)
    trained = find_trained({"run": str(folder)})
    source = load_source(trained.config["dataset"], protocol="test", seed=1)
    with pytest.warns(UfgirWarning, match="could not be drawn .IndexError: no such folder"):
        assert draw_tokens(tmp_path / "tokens", trained.config, source, trained.build(), 1.0) == []


def test_a_file_a_folder_and_a_pattern(draw, images, tmp_path):
    code, said, _ = draw(f"images={images / 'kind_0' / 'test_1.png'}", "out=one")
    assert code == 0 and said.strip().splitlines()[-1] == "figures: one" and names(tmp_path / "one") == ["test_1.png"]
    with Image.open(tmp_path / "one" / "test_1.png") as figure:
        assert figure.size == (5 * (384 + GAP) + GAP, 706)
    pattern, kind_1 = images / "kind_*" / "test_0.png", images / "kind_1"  # 4 images and 6, one of them the same
    code, said, _ = draw(f"images={pattern}", f"images={kind_1}", "out=many", "limit=4")
    assert code == 0 and "4 of the 9 images were taken; limit=9 takes all of them" in said
    assert names(tmp_path / "many") == ["kind_0-test_0.png", "kind_2-test_0.png", "test_1.png", "train_1.png"]


def test_the_same_image_gives_the_same_figure_as_in_training(draw, folder, images, tmp_path):
    draw(f"images={images / 'kind_2' / 'test_0.png'}", "out=again")
    in_training = folder / "tokens" / "kind_2-test_0.png"
    assert (tmp_path / "again" / "test_0.png").read_bytes() == in_training.read_bytes()


def test_a_checkpoint_anywhere_and_its_default_folder(draw, folder, images, tmp_path):
    shutil.copy(folder / "model.pt", tmp_path / "mine.pt")
    code, said, _ = draw("checkpoint=mine.pt", f"images={images / 'kind_0' / 'val_0.png'}")
    assert code == 0 and names(tmp_path / "tokens") == ["val_0.png"] and "figures: tokens" in said


def test_unreadable_images_are_listed_and_skipped(draw, images, tmp_path):
    (tmp_path / "broken.png").write_bytes((images / "kind_0" / "val_0.png").read_bytes()[:90])
    code, said, told = draw("images=broken.png", f"images={images / 'kind_0' / 'val_0.png'}", "out=some")
    assert code == 3 and told.startswith("skipped: broken.png (") and names(tmp_path / "some") == ["val_0.png"]
    code, said, told = draw("images=broken.png", "out=none")
    assert code == 2 and "none of the images can be read" in told and not (tmp_path / "none").exists()


def test_mistakes_are_told_together_and_leave_nothing(draw, folder, tmp_path):
    code, said, told = draw("images=nowhere/*.png", "images=", "limit=0", "out=a/b", f"checkpoint={tmp_path}", "oout=x")
    assert code == 2 and said == "" and names(tmp_path) == []
    for text in (
        "oout=x is not understood", "Did you mean out?", "images=nowhere/*.png: there is no such file, folder or match",
        "images=: there is no", "limit=0: expected a whole number of at least 1", "out=a/b: there is no folder a",
    ):  # fmt: skip
        assert text in told
    assert "images= is missing" in draw()[2]
    (tmp_path / "empty").mkdir()
    assert "images=empty holds no images" in draw("images=empty")[2]
    code, _, told = draw("images=empty", f"run={folder}", f"checkpoint={tmp_path}")
    assert code == 2 and "either run=DIR" in told


def test_a_figure_that_cannot_be_written_is_told(draw, images, tmp_path):
    (tmp_path / "out" / "val_0.png").mkdir(parents=True)  # in the place of the figure
    code, _, told = draw(f"images={images / 'kind_0' / 'val_0.png'}", "out=out")
    assert code == 2 and told.startswith("out=out cannot be written: ")
    assert names(tmp_path / "out") == ["val_0.png"], "nothing half-written"
