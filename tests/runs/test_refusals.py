"""Bad input: every fault is found before the first step, all in one message, and nothing is left behind."""

import shutil

import pytest

from tiny import WORDS, make_data, run
from ufgir.errors import UserError
from ufgir.runs.plan import plan_run


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with a sound data set in `data`, and a cache folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UFGIR_CACHE", str(tmp_path / "data" / ".cache"))
    make_data(tmp_path / "data")
    return tmp_path


def faults_of(*words):
    with pytest.raises(UserError) as caught:
        plan_run([*WORDS, "dataset.root=data", *words])
    return str(caught.value)


def test_faults_of_config_tables_and_images_come_in_one_message(here):
    (here / "data/images/kind_1/test_0.png").unlink()
    broken = here / "data/images/kind_2/train_1.png"
    broken.write_bytes(broken.read_bytes()[:200])
    message = faults_of("keep_rate=1.5", "reduction_layers=[6,3,40]", "optim.batch_size=99")
    for part in (
        "6 faults; nothing was started.",
        "keep_rate=1.5",
        "reduction_layers=[6,3,40]: expected ascending blocks",
        "there is no block 40",
        "optim.batch_size=99: the training set has 16 images",
        "1 of 24 images are missing below data/images: kind_1/test_0.png",
        "kind_2/train_1.png (",
    ):
        assert part in message
    assert {path.name for path in here.iterdir()} == {"data"}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["reducer=evti"], ["expected ats, dpcknn, dyvit, evit, none,", "Did you mean reducer=evit?"]),
        (["keep_rat=0.5"], ["Did you mean keep_rate=0.5?"]),
        (["reducer=none", "keep_rate=0.5"], ["keep_rate=0.5 with reducer=none"]),
        (["reduction_layers=[3,12]"], ["there is no block 12", "numbered from 0 to 11"]),
        (["image_size=36"], ["image_size=36: expected a multiple of 8", "Did you mean image_size="]),
        (["dataset.root=nowhere"], ["dataset.root=nowhere does not exist", "train_val.csv"]),
        (["dataset.root=null"], ["dataset.root is missing"]),
        (
            ["backbone=deit_t", "backbone.pretrained=false", "backbone.name=swin_tiny_patch4_window7_224"],
            ["it is a SwinTransformer, not a plain VisionTransformer"],
        ),
        (["backbone.checkpoint=nowhere.pt"], ["backbone.checkpoint=nowhere.pt: there is no such file"]),
        (["optim.batch_size=2", "trainer.devices=2"], ["leaves one image to each of 2 processes", "batch_size=4"]),
        (["trainer.limit_test_batches=0.1"], ["less than one of the 2 batches of 8 images", "limit_test_batches=1"]),
        (["+trainer.overfit_batches=1"], ["use trainer.limit_train_batches"]),
        (["trainer.devices=3"], ["optim.batch_size=4 cannot be shared evenly by 3 processes", "optim.batch_size=3?"]),
    ],
)
def test_a_fault_says_what_was_given_what_is_allowed_and_what_to_do(here, words, parts):
    message = faults_of(*words)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ("class_id,path\n0,kind_0/train_0.png\n", ["train_val.csv", "no column dir"]),
        ("class_id,dir\n0,kind_0/train_0.png\n2,kind_2/train_0.png\n", ["1"]),
        ("class_id,dir\n-1,kind_0/train_0.png\n0,kind_1/train_0.png\n", ["-1"]),
        ("class_id,dir\n0,kind_0/train_0.png\n", ["class"]),
        ("class_id,dir\n0,../../etc/passwd\n1,kind_1/train_0.png\n", ["../../etc/passwd"]),
    ],
)
def test_faults_of_a_table(here, table, parts):
    for split in ("train", "val", "test"):
        (here / "data" / f"{split}.csv").unlink()
    (here / "data/train_val.csv").write_text(table)
    shutil.copy(here / "data/train_val.csv", here / "data/test.csv")
    message = faults_of()
    for part in parts:
        assert part in message


def test_a_mistake_ends_with_exit_code_2_and_leaves_nothing(tmp_path):
    finished = run("train", "dataset=csv", "reducer=evti", cwd=tmp_path)
    assert finished.returncode == 2
    assert finished.stderr.startswith("2 faults; nothing was started.")
    assert "Traceback" not in finished.stderr
    assert not list(tmp_path.iterdir())


def test_weights_that_cannot_be_had_leave_nothing(tmp_path):
    make_data(tmp_path / "data")
    finished = run("train", *WORDS, "dataset.root=data", "backbone=deit_t", "backbone.pretrained=true", cwd=tmp_path)
    assert finished.returncode == 2
    assert "backbone.pretrained=false" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"data"}
