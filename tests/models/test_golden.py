"""The models equal the authors' code: logits, token counts, losses and gradients to 1e-6 in float64."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import ufgir
from golden.weights import fill, image_batch

GOLDEN = Path(__file__).parents[1] / "golden"


def load_cases(file: str) -> list:
    """The cases of one file whose reducer exists, each with its state dict's shapes."""
    content = json.loads((GOLDEN / file).read_text())
    return [pytest.param(case, content["state_dicts"][case["state_dict"]], id=case["id"]) for case in content["cases"]]


def build(case: dict, shapes: dict) -> tuple[torch.nn.Module, torch.Tensor]:
    """The case's model in float64 with its weights loaded through our converter, and its images."""
    model = ufgir.create_model(
        case["backbone"],
        num_classes=case["num_classes"],
        img_size=case["img_size"],
        reducer=case["reducer"],
        keep_rate=case["keep_rate"],
        reduction_layers=case["reduction_layers"],
        cache=case["cache"],
        head=case["head"],
    ).double()
    weights = {name: torch.from_numpy(fill(name, tuple(shape)).copy()) for name, shape in shapes.items()}
    model.load_state_dict(ufgir.convert_authors_state_dict(weights, model), strict=True)
    return model, torch.from_numpy(image_batch(case["input_seed"], case["batch"], case["img_size"]))


def test_every_case_is_replayed():
    assert len(load_cases("cases.json")) == 46
    assert len(load_cases("train_cases.json")) == 5


@pytest.mark.parametrize(("case", "shapes"), load_cases("cases.json"))
def test_evaluation(case, shapes):
    model, images = build(case, shapes)
    with torch.no_grad():
        logits = model.eval()(images)
    torch.testing.assert_close(logits, torch.tensor(case["logits"], dtype=torch.float64), rtol=0, atol=1e-6)
    assert model.tokens_after_block(images) == case["tokens_after_block"]


@pytest.mark.parametrize(("case", "shapes"), load_cases("train_cases.json"))
def test_training(case, shapes):
    model, images = build(case, shapes)
    model.train()
    targets = torch.arange(case["batch"]) % case["num_classes"]
    losses, first_norm = [], None
    for _ in range(case["steps"]):
        loss = F.cross_entropy(model(images), targets)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        if first_norm is None:
            first_norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients])).item()
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= case["lr"] * gradient
        losses.append(loss.item())
    assert losses == pytest.approx(case["losses"], rel=0, abs=1e-6)
    assert first_norm == pytest.approx(case["grad_norm"], rel=0, abs=1e-6)
