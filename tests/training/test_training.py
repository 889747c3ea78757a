"""Pieces of training: parameter groups, gradient magnitudes, files that are whole or absent."""

from pickle import PicklingError

import pytest
import torch

import ufgir
from ufgir.errors import UserError
from ufgir.training.checkpoint import AtomicCheckpointIO, load_weights, save_weights, weights_digest
from ufgir.training.metrics_csv import MetricsCSV
from ufgir.training.module import ClassifierModule
from ufgir.training.recorder import gradient_magnitudes

OPTIM = {
    "lr": 1e-3, "weight_decay": 0.05, "betas": [0.9, 0.999], "eps": 1e-8,
    "min_lr": 1e-5, "warmup_lr": 1e-6, "warmup_epochs": 1, "cooldown_epochs": 0,
}  # fmt: skip


@pytest.fixture
def model():
    torch.manual_seed(0)
    reduction = {"reducer": "evit", "keep_rate": 0.5, "cache": True, "head": "cla"}
    return ufgir.create_model("micro", num_classes=3, img_size=32, **reduction)


def test_weight_decay_spares_biases_norms_and_embeddings(model):
    optimizer = ClassifierModule(model, 3, OPTIM, 2, seed=1).configure_optimizers()["optimizer"]
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    spared = {name for name, p in model.named_parameters() if id(p) not in decayed}
    assert {"pos_embed", "cls_token", "cache.clr", "cache.pos_embed", "blocks.0.norm1.weight", "head.1.bias"} <= spared
    assert {"head.1.weight", "head.4.weight", "patch_embed.proj.weight", "blocks.5.mlp.fc1.weight"}.isdisjoint(spared)


def test_gradient_magnitudes_are_the_largest_and_the_mean():
    module = torch.nn.Linear(2, 2)
    module.weight.grad = torch.tensor([[1.0, -5.0], [0.0, 2.0]])
    module.bias.grad = torch.tensor([4.0, 0.0])
    assert gradient_magnitudes(module).tolist() == [5.0, 2.0]


def test_a_failed_save_leaves_the_old_file(tmp_path):
    file = tmp_path / "model.pt"
    AtomicCheckpointIO().save_checkpoint({"a": 1}, file)
    with pytest.raises((PicklingError, AttributeError)):
        AtomicCheckpointIO().save_checkpoint({"a": lambda: None}, file)
    assert torch.load(file, weights_only=True) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_weights_come_back_as_they_were(tmp_path, model):
    save_weights(tmp_path / "model.pt", model, {"seed": 1}, ["a", "b", "c"])
    content = load_weights(tmp_path / "model.pt")
    assert (content["config"], content["class_names"]) == ({"seed": 1}, ["a", "b", "c"])
    assert weights_digest(content["state_dict"]) == weights_digest(model.state_dict())


def test_the_digest_changes_with_any_weight(model):
    before = weights_digest(model.state_dict())
    with torch.no_grad():
        model.blocks[11].mlp.fc2.bias[0] += 1e-6
    assert weights_digest(model.state_dict()) != before


class Hostile:
    def __reduce__(self):
        return (open, ("executed", "w"))


NEWER = {"format": 99, "config": {}, "class_names": [], "state_dict": {}}


@pytest.mark.parametrize("content", [Hostile(), {"state_dict": {}}, NEWER])
def test_a_file_that_is_not_ours_is_refused_and_not_executed(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "other.pt")
    with pytest.raises(UserError, match="other.pt"):
        load_weights(tmp_path / "other.pt")
    assert not (tmp_path / "executed").exists()


def test_metrics_of_repeated_steps_are_not_there_twice(tmp_path):
    file = tmp_path / "metrics.csv"
    first = MetricsCSV(file, ("loss", "test_loss"), resume_step=0)
    for step in (1, 2, 3):
        first.log_metrics({"loss": step / 2}, step)
    first.log_metrics({"test_loss": 9.0}, 3)
    first.save()
    with file.open("a") as stream:
        stream.write("2,0.")  # the process died while it wrote
    resumed = MetricsCSV(file, ("loss", "test_loss"), resume_step=2)
    resumed.log_metrics({"loss": 7.0}, 3)
    resumed.save()
    assert file.read_text().splitlines() == ["step,loss,test_loss", "1,0.5,", "2,1.0,", "3,7.0,"]
