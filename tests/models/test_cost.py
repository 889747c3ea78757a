"""The cost of a model: the paper's table, the closed form, a model left as it was, and the estimate beforehand."""

import pytest
import timm
import torch

import ufgir
from ufgir.models.cost import count_macs, estimate_cost
from ufgir.reducers import REDUCERS

CLCA = {"cache": True, "head": "cla"}
RATES = (0.1, 0.25, 0.5, 0.7, 1.0)
PAPER = {  # GMACs of ViT-B/16 with EViT (SPEC, "Cost")
    (448, "base"): (24.8, 28.6, 38.2, 50.2, 78.5),
    (448, "clca"): (25.2, 29.0, 38.8, 50.9, 79.5),
    (224, "base"): (5.64, 6.53, 8.82, 11.6, 17.6),
    (224, "clca"): (5.96, 6.97, 9.32, 12.2, 18.4),
}
POINTS = [
    (size, plugins, rate, gmacs)
    for (size, plugins), row in PAPER.items()
    for rate, gmacs in zip(RATES, row, strict=True)
]


@pytest.mark.slow  # ViT-B; the contract counts smaller models in the fast tests
@pytest.mark.parametrize(("size", "plugins", "rate", "gmacs"), POINTS)
def test_the_papers_cost_table(size, plugins, rate, gmacs):
    options = {"num_classes": 200, "img_size": size, "reducer": "evit" if rate < 1 else "none", "keep_rate": rate}
    options |= CLCA if plugins == "clca" else {}
    assert count_macs(ufgir.create_model("deit_b", **options), size) / 1e9 == pytest.approx(gmacs, rel=0.005)
    assert estimate_cost("deit_b", **options).macs / 1e9 == pytest.approx(gmacs, rel=0.005)


def test_a_whole_model_equals_its_closed_form_and_is_left_as_found():
    model = ufgir.create_model("micro", num_classes=5, img_size=64).double().train()
    model.blocks[2].eval()
    modes = [module.training for module in model.modules()]
    patches, width, depth, layer_norm = 64, 64, 12, 5  # fvcore counts 5 operations an element of a LayerNorm
    tokens = patches + 1
    block = tokens * 12 * width**2 + 2 * tokens**2 * width + 2 * layer_norm * tokens * width
    embedding, classifier = patches * 3 * 8 * 8 * width, 5 * width
    assert count_macs(model, 64) == embedding + depth * block + layer_norm * tokens * width + classifier
    assert [module.training for module in model.modules()] == modes
    assert {p.dtype for p in model.parameters()} == {torch.float64}


def test_a_plain_timm_model_is_counted_too():
    options = {"num_classes": 5, "img_size": 64}
    plain = timm.create_model("deit_tiny_patch16_224", **options)
    assert count_macs(plain, 64) == count_macs(ufgir.create_model("deit_tiny_patch16_224", **options), 64)


@pytest.mark.filterwarnings("ignore::ufgir.errors.UfgirWarning")  # ToMe below 0.5
@pytest.mark.parametrize("reducer", ["none", *REDUCERS])
@pytest.mark.parametrize("plugins", [{}, CLCA])
def test_the_estimate_is_what_the_model_turns_out_to_be(reducer, plugins):
    """Its tokens: see test_properties. 0.3 * 150 is 45 in float64 and more in float32, in which tracing computes."""
    options = {"num_classes": 20, "img_size": 96, "reducer": reducer, "keep_rate": 0.3, **plugins}
    estimate, model = estimate_cost("micro", **options), ufgir.create_model("micro", **options)
    macs = count_macs(model, 96)  # it compares its attention with the token counts of a plain pass
    assert reducer == "ats" or estimate.macs == pytest.approx(macs, rel=0.1), "less norms and reducers themselves"
    assert estimate.parameters == sum(parameter.numel() for parameter in model.parameters())
    wide = estimate_cost("micro", num_classes=5, img_size=96, backbone_kwargs={"patch_size": [16, 8]})
    assert wide.tokens[0] == 6 * 12 + 1
