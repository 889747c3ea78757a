"""What must hold for every combination of reducer, keep rates, layers, size, plug-ins and backbone."""

import warnings
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import ufgir
from models.closed_form import tokens_after_block
from ufgir.errors import UfgirWarning
from ufgir.models import ReducedViT
from ufgir.reducers import REDUCERS

DEPTH, PATCH = 5, 4
SIZES = {"depth": DEPTH, "patch_size": PATCH, "embed_dim": 16}
NAMES = ("none", *REDUCERS)
QUICK = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Case:
    """One model."""

    reducer: str
    rates: tuple[float, ...]
    layers: tuple[int, ...]
    side: int  # patches
    cache: dict | None
    head: str
    prefix: int
    backbone: dict
    batch: int = 2

    def build(self) -> ReducedViT:
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UfgirWarning)  # ToMe below 0.5
            return ufgir.create_model(
                "micro",
                num_classes=3,
                img_size=self.side * PATCH,
                reducer=self.reducer,
                keep_rate=self.rates,
                reduction_layers=self.layers,
                cache=self.cache or False,
                head=self.head,
                backbone_kwargs={**SIZES, "reg_tokens": self.prefix - 1, **self.backbone},
            )

    def images(self) -> Tensor:
        size = self.side * PATCH
        return torch.randn(self.batch, 3, size, size, generator=torch.Generator().manual_seed(1))


CACHES = st.fixed_dictionaries(
    {
        "num_clr": st.integers(0, 3),
        "gap": st.booleans(),
        "recover_at_last": st.booleans(),
        "pool_cls": st.booleans(),
        "pool_clr": st.booleans(),
    }
).filter(lambda options: options["num_clr"] or options["gap"])
RATES = st.one_of(st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.7, 0.99, 1.0]), st.floats(0.01, 1.0))
BACKBONES = st.sampled_from(
    [{}, {"no_embed_class": True, "init_values": 0.1}, {"qk_norm": True}, {"pre_norm": True}, {"global_pool": "avg"}]
)


@st.composite
def cases(draw) -> Case:
    layers = tuple(sorted(draw(st.sets(st.integers(0, DEPTH - 1), min_size=1, max_size=3))))
    rates = draw(st.one_of(RATES.map(lambda rate: (rate,) * len(layers)), st.tuples(*[RATES] * len(layers))))
    return Case(
        reducer=draw(st.sampled_from(NAMES)),
        rates=rates,
        layers=layers,
        side=draw(st.sampled_from([1, 2, 3, 5, 7])),
        cache=draw(st.none() | CACHES),
        head=draw(st.sampled_from(["linear", "cla", "ifa"])),
        prefix=draw(st.sampled_from([1, 1, 3])),
        backbone=draw(BACKBONES),
        batch=draw(st.integers(2, 4)),
    )


@QUICK
@given(cases())
def test_token_counts_follow_the_closed_form(case):
    counts = case.build().tokens_after_block(case.images())
    expected = tokens_after_block(case.reducer, case.rates, case.layers, DEPTH, case.side**2, case.prefix, case.cache)
    if case.reducer == "ats":
        assert all(case.prefix < count <= most for count, most in zip(counts, expected, strict=True))
    else:
        assert counts == expected


@QUICK
@given(cases())
def test_an_image_does_not_depend_on_its_batch(case):
    model, images = case.build().double().eval(), case.images().double()
    with torch.no_grad():
        alone = torch.cat([model(image[None]) for image in images])
        together = model(images)
    assert together.isfinite().all()
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)


@QUICK
@given(cases())
def test_gradients_reach_every_parameter_and_are_finite(case):
    model = case.build().train()
    loss = model(case.images()).logsumexp(dim=1).sum() + model.reducer_loss()
    loss.backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert loss.isfinite() and not dead


@QUICK
@given(cases())
def test_the_same_seed_gives_the_same_training_step(case):
    model, losses = case.build().train(), []
    for _ in range(2):
        torch.manual_seed(3)
        losses.append((model(case.images()).sum() + model.reducer_loss()).item())
    assert losses[0] == losses[1]


@QUICK
@given(cases())
def test_source_rows_account_for_the_patches(case):
    """Rows of what is kept or merged sum to 1, no weight is negative, and no patch is in two tokens that keep it."""
    for tokens in case.build().trace(case.images(), sources=True):
        source = tokens.source if tokens.valid is None else tokens.source[tokens.valid][None]
        assert source.shape[:2] == (case.batch, tokens.x.shape[1]) or tokens.valid is not None
        assert (source >= 0).all() and source.isfinite().all()
        assert source.sum(dim=-1).max() <= 1 + 1e-4
        assert not source[:, 0].any(), "CLS comes from no patch"
        made_of = tokens.source.sum(dim=-1) + tokens.from_cache  # (B, N)
        assert not made_of[:, : tokens.prefix].any(), "nor do registers"
        if case.reducer != "evit":  # whose fused token is no mean
            body = made_of[:, tokens.prefix :]
            body = body if tokens.valid is None else body[tokens.valid[:, tokens.prefix :]]
            torch.testing.assert_close(body, torch.ones_like(body), rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@settings(QUICK, max_examples=20)
@given(cases())
def test_autocast_is_finite(dtype, case):
    model = case.build().train()
    with torch.autocast("cpu", dtype=dtype):
        loss = model(case.images()).float().logsumexp(dim=1).sum() + model.reducer_loss()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("reducer", NAMES)
@settings(QUICK, max_examples=4)
@given(cases())
def test_a_model_in_half_precision_can_be_trained(reducer, case):
    model = replace(case, reducer=reducer).build().bfloat16().train()
    loss = model(case.images().bfloat16()).logsumexp(dim=1).sum() + model.reducer_loss()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(cases())
def test_many_more_cases(case):
    for test in (
        test_token_counts_follow_the_closed_form,
        test_an_image_does_not_depend_on_its_batch,
        test_gradients_reach_every_parameter_and_are_finite,
        test_source_rows_account_for_the_patches,
    ):
        test.hypothesis.inner_test(case)
