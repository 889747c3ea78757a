"""What must hold for every combination of reducer, keep rates, layers, size, plug-ins and backbone."""

import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import ufgir
from ufgir.errors import UfgirWarning
from ufgir.models import ReducedViT, estimate_cost
from ufgir.reducers import REDUCERS

DEPTH, PATCH = 5, 4
NAMES = ("none", *REDUCERS)
QUICK = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
SWITCHES = {name: st.booleans() for name in ("gap", "recover_at_last", "pool_cls", "pool_clr")}
CACHES = st.fixed_dictionaries({"num_clr": st.integers(0, 3), **SWITCHES}).filter(lambda o: o["num_clr"] or o["gap"])
RATES = st.one_of(st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.7, 0.99, 1.0]), st.floats(0.01, 1.0))
BACKBONES = st.sampled_from(
    [{}, {"no_embed_class": True, "init_values": 0.1}, {"qk_norm": True}, {"pre_norm": True}, {"global_pool": "avg"}]
)


@st.composite
def cases(draw) -> dict:
    """The arguments of `create_model` for a small model."""
    layers = tuple(sorted(draw(st.sets(st.integers(0, DEPTH - 1), min_size=1, max_size=3))))
    sizes = {"depth": DEPTH, "patch_size": PATCH, "embed_dim": 16, "reg_tokens": draw(st.sampled_from([0, 0, 2]))}
    return {
        "backbone": "micro",
        "num_classes": 3,
        "img_size": PATCH * draw(st.sampled_from([1, 2, 3, 5, 7])),
        "reducer": draw(st.sampled_from(NAMES)),
        "keep_rate": draw(st.one_of(RATES.map(lambda rate: (rate,) * len(layers)), st.tuples(*[RATES] * len(layers)))),
        "reduction_layers": layers,
        "cache": draw(st.just(False) | CACHES),
        "head": draw(st.sampled_from(["linear", "cla", "ifa"])),
        "backbone_kwargs": {**sizes, **draw(BACKBONES)},
    }


def build(case: dict) -> tuple[ReducedViT, Tensor]:
    """The model and three images for it."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UfgirWarning)  # ToMe below 0.5
        model = ufgir.create_model(**case)
    size = case["img_size"]
    return model, torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


def train_once(model: ReducedViT, images: Tensor, dtype: torch.dtype | None = None) -> None:
    """A forward and a backward pass; the loss and every gradient must be finite."""
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        loss = model.train()(images).float().logsumexp(dim=1).sum() + model.reducer_loss()
    loss.backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert loss.isfinite() and not dead


@QUICK
@given(cases())
def test_token_counts_are_the_estimated_ones(case):
    model, images = build(case)
    counts, expected = model.tokens_after_block(images), estimate_cost(**case).tokens
    if case["reducer"] == "ats":
        assert all(model.num_prefix_tokens < count <= most for count, most in zip(counts, expected, strict=True))
    else:
        assert counts == list(expected)


@QUICK
@given(cases())
def test_an_image_does_not_depend_on_its_batch(case):
    model, images = build(case)
    with torch.no_grad():
        together = model.double().eval()(images.double())
        alone = torch.cat([model(image[None]) for image in images.double()])
    assert together.isfinite().all()
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)


@QUICK
@given(cases())
def test_gradients_reach_every_parameter_and_are_finite(case):
    train_once(*build(case))


@QUICK
@given(cases())
def test_source_rows_account_for_the_patches(case):
    """What is kept or merged sums to 1, no weight is negative, and the prefix comes from no patch."""
    model, images = build(case)
    for tokens in model.trace(images, sources=True):
        valid = torch.ones_like(tokens.x[..., 0]).bool() if tokens.valid is None else tokens.valid
        source, made_of = tokens.source[valid], tokens.source.sum(dim=-1) + tokens.from_cache
        assert (source >= 0).all() and source.isfinite().all() and source.sum(dim=-1).max() <= 1 + 1e-4
        assert not made_of[:, : tokens.prefix].any()
        if case["reducer"] != "evit":  # whose fused token is no mean
            body = made_of[:, tokens.prefix :][valid[:, tokens.prefix :]]
            torch.testing.assert_close(body, torch.ones_like(body), rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@settings(QUICK, max_examples=20)
@given(cases())
def test_training_in_mixed_precision(dtype, case):
    train_once(*build(case), dtype)


@pytest.mark.parametrize("reducer", NAMES)
@settings(QUICK, max_examples=4)
@given(cases())
def test_a_model_in_half_precision_can_be_trained(reducer, case):
    model, images = build({**case, "reducer": reducer})
    train_once(model.bfloat16(), images.bfloat16())


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(cases())
def test_many_more_cases(case):
    for test in (
        test_token_counts_are_the_estimated_ones,
        test_an_image_does_not_depend_on_its_batch,
        test_gradients_reach_every_parameter_and_are_finite,
        test_source_rows_account_for_the_patches,
    ):
        test.hypothesis.inner_test(case)
