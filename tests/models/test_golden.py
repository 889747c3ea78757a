"""The models equal the authors' code: logits, token counts, losses and gradients to 1e-6 in float64."""

import functools
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import ufgir
from golden.weights import fill, image_batch

GOLDEN = Path(__file__).parents[1] / "golden"
filled = functools.cache(fill)  # the cases have most of their weights in common
OPTIONS = ("backbone", "num_classes", "img_size", "reducer", "keep_rate", "reduction_layers", "cache", "head")


def load_cases(file: str, count: int) -> list:
    """The cases of one file, each with its state dict's shapes."""
    content = json.loads((GOLDEN / file).read_text())
    assert len(content["cases"]) == count
    return [pytest.param(case, content["state_dicts"][case["state_dict"]], id=case["id"]) for case in content["cases"]]


def build(case: dict, shapes: dict) -> tuple[torch.nn.Module, torch.Tensor]:
    """The case's model in float64 with its weights loaded through our converter, and its images."""
    model = ufgir.create_model(**{option: case[option] for option in OPTIONS}).double()
    weights = {name: torch.from_numpy(filled(name, tuple(shape))) for name, shape in shapes.items()}
    model.load_state_dict(ufgir.convert_authors_state_dict(weights, model), strict=True)
    return model, torch.from_numpy(image_batch(case["input_seed"], case["batch"], case["img_size"]))


@pytest.mark.parametrize(("case", "shapes"), load_cases("cases.json", 46))
def test_evaluation(case, shapes):
    model, images = build(case, shapes)
    with torch.no_grad():
        logits = model.eval()(images)
    torch.testing.assert_close(logits, torch.tensor(case["logits"], dtype=torch.float64), rtol=0, atol=1e-6)
    assert model.tokens_after_block(images) == case["tokens_after_block"]


@pytest.mark.parametrize(("case", "shapes"), load_cases("train_cases.json", 5))
def test_training(case, shapes):
    model, images = build(case, shapes)
    model.train()
    targets = torch.arange(case["batch"]) % case["num_classes"]
    losses, norms = [], []
    for _ in range(case["steps"]):
        loss = F.cross_entropy(model(images), targets)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norms.append(torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients])).item())
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= case["lr"] * gradient
        losses.append(loss.item())
    assert losses == pytest.approx(case["losses"], rel=0, abs=1e-6)
    assert norms[0] == pytest.approx(case["grad_norm"], rel=0, abs=1e-6)
