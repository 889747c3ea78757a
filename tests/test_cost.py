"""The cost of a model: the paper's table, the closed form, and a model left as it was."""

import pytest
import torch

import ufgir

RATES = (0.1, 0.25, 0.5, 0.7, 1.0)
PAPER = {  # GMACs of ViT-B/16 with EViT (SPEC, "Cost")
    (448, "base"): (24.8, 28.6, 38.2, 50.2, 78.5),
    (448, "clca"): (25.2, 29.0, 38.8, 50.9, 79.5),
    (224, "base"): (5.64, 6.53, 8.82, 11.6, 17.6),
    (224, "clca"): (5.96, 6.97, 9.32, 12.2, 18.4),
}
POINTS = [
    pytest.param(size, plugins, rate, gmacs, marks=[] if rate == 0.1 else pytest.mark.slow)
    for (size, plugins), row in PAPER.items()
    for rate, gmacs in zip(RATES, row, strict=True)
]


@pytest.mark.parametrize(("size", "plugins", "rate", "gmacs"), POINTS)
def test_the_papers_cost_table(size, plugins, rate, gmacs):
    with_plugins = {"cache": True, "head": "cla"} if plugins == "clca" else {}
    model = ufgir.create_model(
        "deit_b", num_classes=200, img_size=size, reducer="evit" if rate < 1 else "none", keep_rate=rate, **with_plugins
    )
    assert ufgir.count_macs(model, size) / 1e9 == pytest.approx(gmacs, rel=0.005)


def test_a_whole_model_equals_its_closed_form():
    model = ufgir.create_model("micro", num_classes=5, img_size=64)
    patches, width, depth, layer_norm = 64, 64, 12, 5  # fvcore counts 5 operations an element of a LayerNorm
    tokens = patches + 1
    block = tokens * 12 * width**2 + 2 * tokens**2 * width + 2 * layer_norm * tokens * width
    embedding, classifier = patches * 3 * 8 * 8 * width, 5 * width
    expected = embedding + depth * block + layer_norm * tokens * width + classifier
    assert ufgir.count_macs(model, 64) == expected


def test_the_model_is_left_as_found():
    model = ufgir.create_model("micro", num_classes=5, img_size=32, cache=True, head="cla").double().train()
    model.blocks[2].eval()
    modes = [module.training for module in model.modules()]
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    ufgir.count_macs(model, 32)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    assert {p.dtype for p in model.parameters()} == {torch.float64}


def test_a_plain_timm_model_is_counted_too():
    import timm

    plain = timm.create_model("deit_tiny_patch16_224", num_classes=5, img_size=64)
    ours = ufgir.create_model("deit_tiny_patch16_224", num_classes=5, img_size=64)
    assert ufgir.count_macs(plain, 64) == ufgir.count_macs(ours, 64)


@pytest.mark.parametrize("reducer", ["topk", "evit", "dyvit"])
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.7])
def test_budgets_are_the_same_while_fvcore_traces(reducer, rate):
    """0.3 * 150 is 45 in float64 and a little more in float32, in which tracing would compute it."""
    model = ufgir.create_model("micro", num_classes=5, img_size=96, reducer=reducer, keep_rate=rate, cache=True)
    assert ufgir.count_macs(model, 96) > 0  # it compares its count with the token counts of a plain pass
