"""Each reducer on a case small enough to check by hand, and the rules that hold for all of them."""

import pytest
import torch

from ufgir.reducers import REDUCERS, EViT, TopK
from ufgir.resources import conf_dir

# One image: CLS, a register and four patches of width 1. CLS attends to the patches with 0.1, 0.4, 0.2 and 0.3.
TOKENS = torch.tensor([[[7.0], [8.0], [10.0], [20.0], [30.0], [40.0]]])
ATTENTION = torch.tensor([[0.0, 0.9, 0.1, 0.4, 0.2, 0.3]])


def test_top_k_keeps_the_most_attended_in_descending_order():
    reduced = TopK(keep_rate=0.5, prefix=2)(TOKENS, ATTENTION)
    assert reduced.flatten().tolist() == [7, 8, 20, 40]


def test_evit_appends_the_attention_weighted_sum_of_the_dropped():
    reduced = EViT(keep_rate=0.5, prefix=2)(TOKENS, ATTENTION)
    assert reduced.flatten().tolist() == pytest.approx([7, 8, 20, 40, 0.1 * 10 + 0.2 * 30])


@pytest.mark.parametrize("name", sorted(REDUCERS))
@pytest.mark.parametrize("keep_rate", [0.76, 0.99])  # ceil(0.76 * 4) is 4
def test_a_budget_that_keeps_all_changes_nothing(name, keep_rate):
    assert torch.equal(REDUCERS[name](keep_rate, prefix=2)(TOKENS, ATTENTION), TOKENS)


@pytest.mark.parametrize("name", sorted(REDUCERS))
def test_at_least_one_token_stays(name):
    reduced = REDUCERS[name](keep_rate=1e-6, prefix=2)(TOKENS, ATTENTION)
    assert reduced.flatten().tolist()[:3] == [7, 8, 20]


@pytest.mark.parametrize("name", sorted(REDUCERS))
def test_an_image_does_not_depend_on_its_batch(name):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(3, 20, 8, generator=generator, dtype=torch.float64)
    attention = torch.rand(3, 20, generator=generator, dtype=torch.float64)
    reducer = REDUCERS[name](keep_rate=0.3, prefix=1)
    alone = torch.cat([reducer(tokens[i : i + 1], attention[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(reducer(tokens, attention), alone, rtol=0, atol=1e-12)


def test_the_config_group_is_the_registry():
    names = {file.stem for file in (conf_dir() / "reducer").glob("*.yaml")}
    assert names == {"none", *REDUCERS}
    for name, reducer in REDUCERS.items():
        assert reducer.__module__ == f"ufgir.reducers.{name}"
