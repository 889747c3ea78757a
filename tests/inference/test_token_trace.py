"""What the pictures are drawn from is what the model computes."""

import numpy as np
import pytest
import torch

from ufgir import create_model
from ufgir.data.transforms import normalize
from ufgir.inference.token_trace import PatchState as S
from ufgir.inference.token_trace import read_patches, trace_tokens
from ufgir.reducers import REDUCERS, Keep, Reducer, Tokens

PIXELS = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 32, 32)).astype(np.uint8))
PATCHES = 16
STATES = {
    "topk": {S.KEPT, S.DROPPED}, "ats": {S.KEPT, S.DROPPED}, "dyvit": {S.KEPT, S.DROPPED},
    "evit": {S.KEPT, S.FUSED, S.DROPPED}, "tome": {S.KEPT, S.MERGED}, "dpcknn": {S.KEPT, S.MERGED}, "sit": {S.MIXED},
    "patchmerger": {S.MIXED},
}  # fmt: skip  # what a patch may come to


class BothPlaces(Reducer):
    """A reducer of someone's own, which drops tokens before the attention and merges pairs after it."""

    def num_kept(self, tokens: int) -> int:
        return tokens

    def before_block(self, tokens: Tokens) -> Tokens:
        index = torch.arange(0, tokens.body.shape[1], 2)
        return tokens.assign(Keep(index.expand(len(tokens.x), -1)))

    def after_attention(self, tokens: Tokens, attention) -> Tokens:
        return tokens.assign(Keep(torch.arange(1, tokens.body.shape[1]).expand(len(tokens.x), -1)))


def make(reducer, **options):
    torch.manual_seed(0)
    return create_model("micro", num_classes=3, img_size=32, reducer=reducer, **options).eval()


def states(source, from_cache=None):
    """States of the patches and of the tokens."""
    read = read_patches(np.array(source), np.array(from_cache or [0.0] * len(source)))
    return read.state.tolist(), read.tokens.tolist()


def test_kept_merged_and_fused_patches():
    assert states([[1, 0, 0], [0, 0, 1]]) == ([S.KEPT, S.DROPPED, S.KEPT], [S.KEPT, S.KEPT])
    source = [[1, 0, 0, 0, 0, 0], [0, 0.75, 0.25, 0, 0, 0], [0, 0, 0, 0.2, 0.1, 0]]
    assert states(source)[0] == [S.KEPT, S.MERGED, S.MERGED, S.FUSED, S.FUSED, S.DROPPED]
    assert read_patches(np.array(source), np.zeros(3)).share == pytest.approx([1, 0.75, 0.25, 2 / 3, 1 / 3, 0])
    assert states([[1, 0, 0], [0.1, 0.2, 0.1]])[0] == [S.KEPT, S.FUSED, S.FUSED], "one may go into a sum as well"
    assert states([[0.5, 0.3, 0.2]])[1] == [S.FUSED], "a mean of all is no group"
    assert read_patches(np.zeros((0, 6)), np.zeros(0)).state.tolist() == [S.DROPPED] * 6


def test_what_the_cache_returns_is_no_patch():
    source, from_cache = [[1, 0, 0], [0, 0, 0], [0, 0.5, 0]], [0, 1, 0.5]
    assert states(source, from_cache) == ([S.KEPT, S.MERGED, S.DROPPED], [S.KEPT, S.RECOVERED, S.MERGED])


def test_mixed_patches_belong_to_the_token_that_they_have_the_largest_share_of():
    source = [[0.5, 0.3, 0.2], [0.1, 0.1, 0.3]]  # the second token is half from the cache
    read = read_patches(np.array(source), np.array([0, 0.5]))
    assert read.state.tolist() == [S.MIXED] * 3 and read.token.tolist() == [0, 0, 1]
    assert read.share == pytest.approx([0.5, 0.3, 0.3])


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("reducer", ["none", *REDUCERS])
def test_every_reducer(reducer, cache):
    model = make(reducer, keep_rate=0.5, cache=cache)
    trace = trace_tokens(model, PIXELS, rollout=True)
    assert [stage.block for stage in trace.stages] == ([] if reducer == "none" else [3, 6, 9])
    tokens = model.tokens_after_block(normalize(PIXELS[None]))
    for stage in trace.stages:
        assert set(stage.patches.state) <= STATES[reducer], stage.block
        assert stage.tokens == tokens[stage.block] == 1 + len(stage.patches.tokens)
        assert cache or stage.patches.count(S.RECOVERED) == 0
        assert stage.patches.count(S.KEPT) == (stage.patches.state == S.KEPT).sum()
    for attention in (trace.attention, trace.rollout):
        assert attention.patches.sum() + attention.prefix + attention.cache == pytest.approx(1, abs=1e-3)
        assert (attention.cache > 0) == cache and (attention.patches >= -1e-9).all()
    with torch.no_grad():
        assert trace.probabilities == pytest.approx(model(normalize(PIXELS[None]))[0].softmax(dim=0).numpy(), abs=1e-5)


def attention_matrices(model) -> list[torch.Tensor]:
    """Of each block of an unreduced model, mean over heads (N, N), computed by hand."""
    matrices, hooks = [], []

    def keep(attn, output):
        heads = output.reshape(1, 1 + PATCHES, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
        matrices.append(((heads[0] @ heads[1].mT) * attn.scale).softmax(-1)[0].mean(0))

    for block in model.blocks:
        hooks.append(block.attn.qkv.register_forward_hook(lambda _, inputs, out, attn=block.attn: keep(attn, out)))
    with torch.no_grad():
        model(normalize(PIXELS[None]))
    for hook in hooks:
        hook.remove()
    return matrices


def test_attention_and_rollout_of_an_unreduced_model():
    model = make("none")
    matrices, trace = attention_matrices(model), trace_tokens(model, PIXELS, rollout=True)
    assert trace.attention.patches == pytest.approx(matrices[-1][0, 1:].numpy(), abs=1e-6)
    assert trace.attention.prefix == pytest.approx(float(matrices[-1][0, 0]), abs=1e-6)
    rolled = torch.eye(1 + PATCHES)
    for matrix in matrices:
        rolled = (matrix + torch.eye(1 + PATCHES)) / 2 @ rolled
    assert trace.rollout.patches == pytest.approx(rolled[0, 1:].numpy(), abs=1e-5)
    assert trace_tokens(model, PIXELS).rollout is None


def test_rollout_goes_through_what_a_reducer_does_before_and_after_the_attention():
    model = make(BothPlaces, keep_rate=0.5, reduction_layers=[11])
    plain = make("none")
    plain.load_state_dict(model.state_dict())
    matrices, trace = attention_matrices(plain), trace_tokens(model, PIXELS, rollout=True)
    rolled = torch.eye(1 + PATCHES)
    for matrix in matrices[:-1]:
        rolled = (matrix + torch.eye(1 + PATCHES)) / 2 @ rolled
    left = torch.tensor([0, *range(1, 1 + PATCHES, 2)])  # the class token and every other patch
    last = matrices[-1][0, left] / matrices[-1][0, left].sum()
    expected = (last @ rolled[left] + rolled[0]) / 2
    assert trace.rollout.patches == pytest.approx(expected[1:].numpy(), abs=1e-5)
    assert trace.stages[0].patches.count(S.KEPT) == 7


def test_one_kept_patch_is_the_one_that_has_all_attention():
    trace = trace_tokens(make("topk", keep_rate=0.01, reduction_layers=[2]), PIXELS)
    (kept,) = np.flatnonzero(trace.stages[0].patches.state == S.KEPT)
    assert trace.attention.patches.argmax() == kept and np.count_nonzero(trace.attention.patches) == 1


def test_registers_no_class_token_and_a_resting_reducer():
    model = make("topk", keep_rate=[0.5, 1.0, 0.5], backbone_kwargs={"reg_tokens": 4}, cache=True)
    trace = trace_tokens(model, PIXELS)
    assert trace.prefix == 5 and [stage.block for stage in trace.stages] == [3, 9]
    headless = make("tome", keep_rate=0.5, backbone_kwargs={"class_token": False, "global_pool": "avg"})
    trace = trace_tokens(headless, PIXELS, rollout=True)
    assert trace.prefix == 0 and trace.attention is None and trace.rollout is None and len(trace.stages) == 3


def test_tracing_leaves_the_model_as_it_was():
    model = make("dyvit", keep_rate=0.5).train()
    trace_tokens(model, PIXELS, rollout=True)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
