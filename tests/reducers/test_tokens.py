"""One assignment, many uses: what a reducer says about the origin of its tokens is what it computes."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reducers.test_reducers import Attention
from ufgir.reducers import REDUCERS, Reducer
from ufgir.reducers.tokens import Stage, Tokens

MERGING = ("evit", "tome", "dpcknn", "sit", "patchmerger")  # the others drop tokens
DIM, HEADS = 8, 2


def reduced(reducer: Reducer, tokens: Tokens) -> Tokens:
    """What one reducer makes of a sequence, wherever in the block it acts."""
    batch, count, _ = tokens.x.shape
    heads = torch.randn(3, batch, HEADS, count, DIM // HEADS)
    attention = Attention((heads[0] * heads[1]).sum(-1).softmax(-1), heads[1], heads[2])
    tokens = reducer.before_block(tokens)
    if (kept := reducer.select_queries(tokens, attention)) is not None:
        tokens = tokens.assign(kept)
    return reducer.after_attention(tokens, attention)


@pytest.mark.parametrize("name", REDUCERS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(rate=st.floats(0.01, 0.99), side=st.integers(1, 8), appended=st.integers(0, 3), prefix=st.integers(1, 5))
def test_the_new_tokens_are_the_assignment_times_the_old_ones(name, rate, side, appended, prefix):
    torch.manual_seed(side)
    patches = side**2
    reducer = REDUCERS[name](Stage(0, (rate, rate), patches, DIM, cached=appended > 0)).double().eval()
    x = torch.randn(2, prefix + patches + appended, DIM).double()
    source = torch.eye(patches + appended).double()  # the whole body, to see the assignment itself
    source = torch.cat((torch.zeros(prefix, patches + appended), source)).expand(2, -1, -1)
    with torch.no_grad():
        result = reduced(reducer, Tokens(x, prefix, appended, source=source))
        body = reducer.norm(x[:, prefix:]) if name == "patchmerger" else x[:, prefix:]
    assignment = result.source[:, prefix:]  # (B, m, n)
    torch.testing.assert_close(result.body, assignment @ body, rtol=0, atol=1e-9)
    assert torch.equal(result.x[:, :prefix], x[:, :prefix]), "the prefix is protected"
    columns = assignment.sum(dim=1)  # how much of each old token goes on
    if name in MERGING:
        assert (columns > 0).all(), "every token goes into one"
    else:
        valid = torch.ones_like(result.x[..., 0]).bool() if result.valid is None else result.valid
        columns = (assignment * valid[:, prefix:, None]).sum(dim=1)
        assert ((columns == 0) | (columns == 1)).all(), "kept once or dropped"
        assert torch.equal(columns.sum(dim=1), valid[:, prefix:].sum(dim=1).double())


def test_cached_tokens_are_valid_of_size_one_and_undecided():
    marks = {name: torch.full((1, 3), 4.0) for name in ("size", "decision", "policy")}
    tokens = Tokens(torch.zeros(1, 3, 1), 1, valid=torch.tensor([[True, True, False]]), **marks)
    longer = tokens.append(Tokens(torch.ones(1, 2, 1), 0))
    assert longer.valid.tolist() == [[True, True, False, True, True]]
    assert [getattr(longer, name)[0, 3:].tolist() for name in marks] == [[1, 1], [0, 0], [1, 1]]
    assert longer.appended == 2
    topk = REDUCERS["topk"](Stage(0, (0.5,), 2, 1))
    kept = topk.after_attention(replace(tokens, size=torch.tensor([[1.0, 2, 3]])), Attention(torch.eye(3)[None, 2:]))
    assert kept.size.tolist() == [[1, 3]] and kept.valid.tolist() == [[True, False]]


def test_padding_and_hidden_tokens_do_not_enter_the_mean_and_are_not_the_last():
    tokens = Tokens(torch.tensor([[[9.0], [1.0], [3.0], [5.0]]]), 1)
    assert tokens.mean(4).x.item() == 3
    assert tokens.mean(4, with_cls=True).x.item() == 4.5
    assert replace(tokens, valid=torch.tensor([[True, True, True, False]])).mean(4).x.item() == 2
    assert replace(tokens, policy=torch.tensor([[1.0, 0.0, 0.0, 1.0]])).mean(4).x.item() == 5
    tokens = replace(tokens, valid=torch.tensor([[True, True, True, False]]))
    assert tokens.last(2).x.flatten().tolist() == [1, 3]
    few = replace(tokens, valid=torch.tensor([[True, False, False, False]])).last(2)
    assert few.valid.tolist() == [[False, True]] and few.x[0, 1].item() == 9
