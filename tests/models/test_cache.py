"""The cross-layer cache on sequences small enough to follow by hand (SPEC, "CLC")."""

from dataclasses import replace

import pytest
import torch

from ufgir.config.schema import CacheConfig
from ufgir.models.cache import CACHE_DEFAULTS, CrossLayerCache
from ufgir.reducers.tokens import Tokens

CLS = torch.tensor([[[5.0, 5.0]]])


def make(embed_position=False, **options):
    return CrossLayerCache(CLS, (1, 2), embed_position, **options)


def tokens(*values):
    return Tokens(torch.tensor([[[float(value)] * 2 for value in values]]), prefix=1)


def first_channel(sequence):
    return sequence.x[0, :, 0].tolist()


def test_mean_and_clr_of_each_block_come_back_in_block_order():
    cache = make()
    x, state = cache.begin(tokens(1, 2, 4))  # CLS, two patches; CLR = 5
    x = cache.after_block(0, x, state)
    assert first_channel(x) == [1, 2, 4, 5] and state.pooled == 3
    x = cache.after_block(1, replace(x, x=x.x + 10), state)  # recovers mean(2, 4) and 5 of block 0
    assert first_channel(x) == [11, 12, 14, 15, 3, 5]
    x = cache.after_block(2, x, state)  # mean over the four tokens before that recovery, the newest copy as CLR
    assert first_channel(x) == pytest.approx([11, 12, 14, 15, 3, 5, (12 + 14 + 15) / 3, 5])
    assert not state.entries, "nothing is cached from the last recovery on"


def test_registers_never_count_and_cls_only_when_asked():
    for options, mean in (({}, 3.0), ({"pool_cls": True}, (1 + 2 + 4) / 3), ({"pool_clr": True}, (2 + 4 + 5) / 3)):
        cache = make(**options)
        x, state = cache.begin(replace(tokens(1, 100, 2, 4), prefix=2))  # CLS, a register, two patches
        cache.after_block(0, x, state)
        assert state.entries[0].x.flatten().tolist() == pytest.approx([mean, mean]), options


@pytest.mark.parametrize(
    ("options", "left"),
    [({"num_clr": 0}, [1, 2, 4, 3]), ({"gap": False}, [1, 2, 4, 5, 5]), ({"num_clr": 2}, [1, 2, 4, 5, 5, 3, 5, 5])],
)
def test_means_and_clr_tokens_can_be_left_out(options, left):
    cache = make(**options)
    x, state = cache.begin(tokens(1, 2, 4))
    assert first_channel(cache.after_block(1, cache.after_block(0, x, state), state)) == left


def test_clr_gets_a_position_only_where_cls_has_one():
    torch.manual_seed(0)
    assert make().pos_embed is None and not list(make(num_clr=0).parameters())
    position = make(embed_position=True, num_clr=200).pos_embed
    assert position.shape == (1, 200, 2) and position.std().item() == pytest.approx(0.02, rel=0.15)


def test_a_cache_of_nothing_is_refused():
    with pytest.raises(ValueError, match="num_clr=0 with gap=False"):
        make(num_clr=0, gap=False)


def test_a_configuration_has_the_same_defaults():
    assert CacheConfig().model_dump() == CACHE_DEFAULTS
