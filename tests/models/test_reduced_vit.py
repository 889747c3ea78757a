"""The adapter: equal to timm where nothing is reduced, and sound where something is."""

import copy
import pickle

import pytest
import timm
import torch

import ufgir
from ufgir.config import compose_run, resolve
from ufgir.errors import UfgirWarning, UserError
from ufgir.models import ReducedViT
from ufgir.runs.build import build_model

MICRO = {"backbone": "micro", "num_classes": 5, "img_size": 32}
PLUGINS = {
    "base": {},
    "cla": {"head": "cla"},
    "clc": {"cache": True},
    "clca": {"cache": True, "head": "cla"},
    "ifa": {"head": "ifa"},
}


def images(batch=2, size=32, seed=0):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "deit3_small_patch16_224", "vit_small_patch14_reg4_dinov2"])
def test_without_reduction_it_is_timm_bit_for_bit(name):
    size = 56 if "patch14" in name else 64
    torch.manual_seed(0)
    vit = timm.create_model(name, num_classes=5, img_size=size)
    torch.manual_seed(0)
    ours = ufgir.create_model(name, num_classes=5, img_size=size, keep_rate=0.3)
    for mode in (True, False):
        assert torch.equal(vit.train(mode)(images(size=size)), ours.train(mode)(images(size=size)))
    assert ours.state_dict().keys() == vit.state_dict().keys()


def test_the_shared_part_loads_back_into_timm():
    name, sizes = "deit_tiny_patch16_224", {"num_classes": 5, "img_size": 32}
    ours = ufgir.create_model(name, **sizes, reducer="evit", keep_rate=0.5, cache=True)
    vit = timm.create_model(name, **sizes)
    missing, unexpected = vit.load_state_dict(ours.state_dict(), strict=False)
    assert not missing
    assert set(unexpected) == {"cache.clr", "cache.pos_embed"}


def test_evit_at_448_has_the_papers_token_counts():
    model = ufgir.create_model("deit_t", num_classes=5, img_size=448, reducer="evit", keep_rate=0.1)
    assert model.tokens_after_block(images(1, 448)) == [785] * 3 + [81] * 3 + [10] * 3 + [3] * 3


def test_rates_of_each_stage_and_other_layers():
    model = ufgir.create_model(
        **MICRO, reducer="topk", keep_rate=[0.5, 1.0, 0.25], reduction_layers=(0, 4, 11), head="cla"
    )
    assert list(model.reducers) == ["0", "11"], "a rate of 1 owns nothing"
    assert model.collected_layers == (0, 4, 11)
    assert model.tokens_after_block(images(1)) == [9] * 11 + [3]


def test_registers_stay_in_front():
    reduction = {"reducer": "evit", "keep_rate": 0.01, "reduction_layers": (0,)}
    model = ufgir.create_model("vit_small_patch14_reg4_dinov2", num_classes=5, img_size=56, **reduction).eval()
    seen = []
    with torch.no_grad():
        model.forward_features(images(size=56), observe=seen.append)
    assert seen[0].leaving.x.shape[1] == 5 + 1 + 1, "prefix, one kept patch and the fused token"


def test_checkpointing_changes_memory_not_gradients():
    model = ufgir.create_model(**MICRO, reducer="evit", keep_rate=0.5, **PLUGINS["clca"]).double().train()
    gradients = []
    for enabled in (False, True):
        twin = copy.deepcopy(model)
        twin.set_grad_checkpointing(enabled)
        twin(images().double()).square().sum().backward()
        gradients.append([p.grad for p in twin.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed, rtol=0, atol=1e-12)


def test_copies_and_pickles_compute_the_same():
    model = ufgir.create_model(**MICRO, reducer="evit", keep_rate=0.5, **PLUGINS["clca"]).eval()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(images()), model(images()))


def test_the_wrapped_timm_model_is_left_as_it_was():
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32)
    head, norm = vit.head, vit.norm
    ReducedViT(vit, reducer="evit", keep_rate=0.5, cache=True, head="cla")
    assert vit.head is head and vit.norm is norm and not hasattr(vit, "cache")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("swin_tiny_patch4_window7_224", "it is a SwinTransformer, not a plain VisionTransformer"),
        ("deit_tiny_distilled_patch16_224", "VisionTransformerDistilled"),
        ("vit_base_patch16_siglip_224", "it has no class token"),
        ("deit_smal_patch16_224", "Nearest: deit_small_patch16_224"),
    ],
)
def test_a_model_that_cannot_be_wrapped_is_refused_with_the_reason(name, reason):
    with pytest.raises(UserError, match=reason):
        ufgir.create_model(name, num_classes=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reducer": "evti"}, "reducer='evti' is not one of none, ats, dpcknn, dyvit, evit, patchmerger"),
        ({"reducer": {"name": "evit", "ratio_weight": 2.0}}, "unknown options .'ratio_weight'.; it has none"),
        ({"reducer": "evit", "keep_rate": 0.0}, "greater than 0 and at most 1"),
        ({"reducer": "evit", "keep_rate": [0.5, 0.5]}, "give one number or 3"),
        ({"reduction_layers": (3, 12)}, "ascending blocks from 0 to 11"),
        ({"reduction_layers": (6, 3)}, "ascending blocks from 0 to 11"),
        ({"head": "clo"}, "head='clo' is not one of linear, cla, ifa"),
        ({"head": {"name": "ifa", "multiplier": 2}}, "only cla has one"),
        ({"cache": {"clr": 2}}, "unknown options"),
    ],
)
def test_a_wrong_option_says_what_is_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        ufgir.create_model(**MICRO, **options)


def test_weights_from_a_local_file(tmp_path):
    donor = timm.create_model("deit_tiny_patch16_224", num_classes=1000)
    torch.save(donor.state_dict(), tmp_path / "deit.pt")
    model = ufgir.create_model("deit_t", num_classes=5, img_size=64, checkpoint=tmp_path / "deit.pt", cache=True)
    assert torch.equal(model.blocks[3].mlp.fc1.weight, donor.blocks[3].mlp.fc1.weight)
    assert model.pos_embed.shape == (1, 17, 192), "resampled to 64 px"
    assert torch.equal(model.cache.clr, donor.cls_token), "the CLR starts from the loaded class token"
    assert model.head.weight.shape == (5, 192)


def test_weights_that_cannot_be_had_are_an_error(tmp_path):
    (tmp_path / "broken.pt").write_text("not weights")
    with pytest.raises(UserError, match="backbone.pretrained=false"):
        ufgir.create_model("deit_t", num_classes=5, checkpoint=tmp_path / "broken.pt")


def test_the_authors_entries_that_do_not_fit_are_all_named():
    model = ufgir.create_model("deit_tiny_patch16_224", num_classes=5, img_size=32, cache=True)
    entries = timm.create_model("deit_tiny_patch16_224", num_classes=7, img_size=32).state_dict()
    entries["score_predictor.0.weight"] = torch.zeros(1)
    with pytest.raises(UserError) as caught:
        ufgir.convert_authors_state_dict(entries, model)
    for part in ("cache.clr: missing", "score_predictor.0.weight: the model has no", "head.weight: shape (7, 192)"):
        assert part in str(caught.value)


def test_tome_warns_where_it_cannot_merge_as_much_as_asked():
    with pytest.warns(UfgirWarning, match="of 196 patches 98, 80, 79 are left .* asks for 19, 1, 1. Merge at more"):
        model = ufgir.create_model("deit_t", num_classes=5, reducer="tome", keep_rate=0.1)
    counts = model.tokens_after_block(images(1, 224))
    assert [counts[layer] - 1 for layer in (3, 6, 9)] == [98, 80, 79]


def test_tome_says_that_its_numbers_are_those_without_the_cache():
    with pytest.warns(UfgirWarning, match=r"98, 80, 79 are left after the reduction layers \(without the cross-layer"):
        model = ufgir.create_model("deit_t", num_classes=5, reducer="tome", keep_rate=0.1, cache=True)
    assert model.tokens_after_block(images(1, 224))[6] - 1 > 80


def test_the_papers_tome_at_a_quarter_of_the_tokens():
    config, faults = compose_run(["experiment=tome_025", "backbone=deit_t", "backbone.pretrained=false"])
    assert not faults
    model = build_model(resolve(config), num_classes=5)  # warnings are errors: this one has none
    assert model.collected_layers == (2, 3, 5, 6, 8, 9, 11)
    counts = model.tokens_after_block(images(1, 224))
    assert model.cache is not None and counts[:4] == [198, 198, 100, 55]
