"""A trained model is found by its folder or file, or it is told why not."""

import json
import shutil

import pytest
import torch
from filelock import FileLock

from tiny import make_data, make_run
from ufgir.errors import UserError
from ufgir.runs.trained import find_trained, on_this_machine


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A data set and one finished run."""
    folder = tmp_path_factory.mktemp("finished")
    return make_run(folder / "outputs" / "csv-micro-1", make_data(folder / "data"))


@pytest.fixture
def copied(finished, tmp_path):
    """The folder of a copy of that run, to be damaged."""
    return shutil.copytree(finished.path, tmp_path / "outputs" / "csv-micro-1")


def refusal(**words):
    """The message with which the search for a model ends."""
    with pytest.raises(UserError) as caught:
        find_trained({word: str(value) for word, value in words.items()}).build()
    return str(caught.value)


def rewritten(folder, **changes):
    """The weights file with other contents: of `state_dict` and `config` single entries, of anything else the whole."""
    file = folder / "model.pt"
    content = torch.load(file, weights_only=True)
    for name, value in changes.items():
        content[name] = {**content[name], **value} if isinstance(value, dict) else value
    torch.save(content, file)
    return file


def test_a_run_without_an_end(copied, tmp_path):
    run = copied
    assert f"run={tmp_path / 'outputs'} is not the folder of a run" in refusal(run=tmp_path / "outputs")
    assert f"It holds 1; give one of them, such as run={run}." in refusal(run=tmp_path / "outputs")
    typo = refusal(run=run.with_name("csv-mikro-1"))
    assert "does not exist; give the folder of a run" in typo and f"Did you mean run={run}?" in typo
    assert f"is a file; give the folder of a run, or checkpoint={run / 'model.pt'}" in refusal(run=run / "model.pt")
    (run / "results.json").write_text(json.dumps({"status": "failed", "reason": "the loss was not finite"}))
    assert "failed (the loss was not finite); the command that started it tries again" in refusal(run=run)
    (run / "results.json").write_text("{")
    assert f"results.json is damaged; checkpoint={run / 'model.pt'} may still work" in refusal(run=run)
    (run / "results.json").unlink()
    assert "is not finished; the command that started it brings it to its end" in refusal(run=run)
    with FileLock(run / ".lock"):
        assert "is still being trained; wait for its end" in refusal(run=run)


def test_a_file_that_is_no_weights_file(copied):
    assert "has format 2, this program reads up to 1: update ufgir" in refusal(checkpoint=rewritten(copied, format=2))
    assert "is not a weights file of ufgir" in refusal(checkpoint=rewritten(copied, format="new"))
    config = torch.load(copied / "model.pt", weights_only=True)["config"]
    del config["reducer"], config["image_size"]
    torch.save({"format": 1, "config": config, "class_names": [], "state_dict": {}}, copied / "model.pt")
    assert "its settings lack reducer, image_size" in refusal(run=copied)
    (copied / "model.pt").write_text("not weights")
    assert "cannot be read as weights" in refusal(run=copied)
    (copied / "model.pt").write_bytes(b"")  # as a full disk leaves it when it is copied
    message = refusal(run=copied)
    assert "model.pt cannot be read as weights (EOFError); give a model.pt of a finished run." in message
    (copied / "model.pt").unlink()
    assert "has no model.pt: it was trained with keep=none" in refusal(run=copied)
    assert "does not exist; give a model.pt of a finished run" in refusal(checkpoint=copied / "model.pt")
    assert "cannot be used: File name too long" in refusal(checkpoint="x" * 300)


def test_weights_of_another_class_count(copied):
    file = rewritten(copied, class_names=["a", "b", "c"])
    assert f"{file}: it names 3 classes, and its weights tell 4 apart" in refusal(checkpoint=file)


def test_weights_of_another_model(copied):
    file = rewritten(copied, state_dict={"blocks.0.norm1.bias": torch.zeros(3)})
    message = refusal(checkpoint=file)
    assert "1 entries differ, first blocks.0.norm1.bias: (3,) in the file" in message


def test_half_precision_needs_a_gpu(finished, monkeypatch, capsys):
    config = find_trained({"run": str(finished.path)}).config
    config["trainer"].update(accelerator="auto", precision="16-mixed", devices=4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    here = on_this_machine(config)["trainer"]
    assert (here["accelerator"], here["precision"], here["devices"]) == ("auto", "32-true", 1)
    assert "computing in full precision" in capsys.readouterr().out
    assert config["trainer"]["precision"] == "16-mixed", "the settings of the training stay as they are"
