"""Backbones: those of the paper and the common ones by name, any plain ViT of timm, and a reason for every other."""

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

import ufgir
from ufgir.errors import UserError
from ufgir.models.backbones import backbone_label, build_on_meta, describe, named_backbones, unsupported
from ufgir.utils import project_dir

PAPER = {
    "vit_b_in21k": "vit_base_patch16_224.orig_in21k",
    "deit_b": "deit_base_patch16_224.fb_in1k",
    "vit_b_miil": "vit_base_patch16_224_miil.in21k",
    "vit_b_mocov3": "vit_base_patch16_224",
    "vit_b_dino": "vit_base_patch16_224.dino",
    "vit_b_mae": "vit_base_patch16_224.mae",
    "deit3_b_in21k": "deit3_base_patch16_224.fb_in22k_ft_in1k",
    "deit3_b": "deit3_base_patch16_224.fb_in1k",
    "vit_b_clip": "vit_base_patch16_clip_224.laion2b",
}
OTHERS = (
    "deit_t deit_s deit3_s deit3_m deit3_l vit_t vit_s vit_b vit_l "
    "dinov2_s dinov2_b dinov2_l dinov2_s_reg dinov2_b_reg dinov2_l_reg micro"
).split()
SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2}
KINDS = {
    "deit3_b": {},  # no position embedding for the class token
    "vit_b_clip": {},  # a norm before the blocks
    "vit_b_miil": {},  # no bias in qkv
    "dinov2_b": {},  # layer scale
    "dinov2_b_reg": {},  # registers
    "vit_giant_patch14_reg4_dinov2": {},  # another kind of MLP
    "eva_large_patch14_196": {},  # the mean of the patches is classified
    "vit_tiny_r_s16_p8_224": {},  # patches of a convolutional stem
    "vit_base_r50_s16_224": {},  # a deep one
    "vit_small_patch16_224": {"qk_norm": True, "dynamic_img_size": True, "reg_tokens": 2},
}
MODULES = ("vision_transformer", "vision_transformer_hybrid", "deit", "vitamin")  # where timm builds VisionTransformers
ACCEPTED = 105  # architectures at least


def pair(name: str, kwargs: dict, **options) -> tuple[VisionTransformer, torch.nn.Module, torch.Tensor]:
    """timm's small model and ours with the same random weights, both in evaluation, and images for them."""
    theirs = named_backbones().get(name, (name, {}))[0]
    size = 2 * describe(theirs).patch[0]
    torch.manual_seed(0)
    vit = timm.create_model(theirs, num_classes=5, img_size=size, **kwargs).eval()
    torch.manual_seed(0)
    ours = ufgir.create_model(name, num_classes=5, img_size=size, backbone_kwargs=kwargs, **options).eval()
    return vit, ours, torch.randn(2, 3, size, size)


@torch.no_grad()
def check_like_timm(name: str, kwargs: dict) -> None:
    """Without reduction bit for bit; through our own attention, which keeps every token here, to rounding."""
    vit, ours, images = pair(name, kwargs, reduction_layers=(1,))
    assert torch.equal(ours(images), vit(images))
    _, ours, _ = pair(name, kwargs, reducer="topk", keep_rate=0.999, reduction_layers=(0, 1))
    torch.testing.assert_close(ours(images), vit(images), rtol=1e-4, atol=1e-5)


def test_the_papers_nine_and_the_common_ones_are_there():
    found = {name: timm_name for name, (timm_name, _) in named_backbones().items()}
    assert {name: found.get(name) for name in PAPER} == PAPER
    assert set(found) == {*PAPER, *OTHERS}
    heads = {
        file.stem: file.read_text().partition("\nname:")[0]
        for file in (project_dir("conf") / "backbone").glob("*.yaml")
    }
    assert {name for name, head in heads.items() if "in the paper's grid" in head} == set(PAPER)


@pytest.mark.parametrize("name", sorted({*PAPER, *OTHERS}))
def test_a_named_backbone_has_weights_and_takes_both_sizes_of_the_paper(name):
    timm_name, kwargs = named_backbones()[name]
    assert backbone_label(timm_name, kwargs) == name
    assert bool(kwargs) != (timm_name in timm.list_pretrained()), "no weights of timm only for sizes of its own"
    patch = describe(name).patch[0]
    assert patch == (14 if "dinov2" in name else 8 if name == "micro" else 16)
    small, large = (build_on_meta(timm_name, img_size=size, **kwargs).pos_embed.shape[1] for size in (224, 448))
    assert large - small == 3 * (224 // patch) ** 2


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_plain_vit_is_timms(name):
    check_like_timm(name, {**SMALL, **KINDS[name]})


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_plain_vit_is_reduced(name):
    kwargs = {**SMALL, **KINDS[name]}
    vit, ours, images = pair(name, kwargs, reducer="evit", keep_rate=0.5, reduction_layers=(0,), cache=True, head="cla")
    patches, prefix = vit.patch_embed.num_patches, vit.num_prefix_tokens
    assert patches == 4
    assert ours.tokens_after_block(images)[0] == prefix + 3 + 1, "half of four patches and one CLR, and the fused one"
    assert ours(images).isfinite().all()


def test_what_a_patch_token_stands_for():
    assert describe("vit_base_r50_s16_224").patch == describe("deit_s").patch == (16, 16)
    assert describe("vit_tiny_r_s16_p8_224").patch == (32, 32)


@pytest.mark.slow
def test_every_vit_of_timm_works_or_is_refused_with_a_reason():
    names, accepted = [name for module in MODULES for name in timm.list_models(module=module)], []
    for name in names:
        try:
            describe(name)
            accepted.append(name)
        except UserError as error:
            assert str(error).startswith(f"backbone.name={name} is not supported: it")
    assert len(accepted) >= ACCEPTED
    for name in accepted:
        # The stem of this one has the width of the blocks, so only the depth can be made small.
        check_like_timm(name, {"depth": 2} if name == "vit_base_mci_224" else SMALL)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("swin_base_patch4_window7_224", "it is a SwinTransformer, not a plain VisionTransformer"),
        ("convnext_tiny", "it is a ConvNeXt, not a plain VisionTransformer"),
        ("resnet50", "it is a ResNet, not a plain VisionTransformer"),
        ("eva02_tiny_patch14_224", "it is a Eva, not a plain VisionTransformer"),
        ("beit_base_patch16_224", "it is a Beit, not a plain VisionTransformer"),
        ("vit_relpos_small_patch16_224", "it is a VisionTransformerRelPos, not a plain VisionTransformer"),
        ("samvit_base_patch16", "it is a VisionTransformerSAM, not a plain VisionTransformer"),
        ("deit_small_distilled_patch16_224", "it is a VisionTransformerDistilled, not a plain VisionTransformer"),
        ("mvitv2_tiny", "it is a MultiScaleVit, not a plain VisionTransformer"),
        ("vit_base_patch16_xp_224", "its blocks are built of ParallelScalingBlock"),
        ("vit_small_patch16_18x2_224", "its blocks are built of ParallelThingsBlock"),
    ],
)
def test_a_backbone_that_is_no_plain_vit_is_refused_by_name(name, reason):
    for ask in (describe, lambda name: ufgir.create_model(name, num_classes=5, img_size=64)):
        with pytest.raises(UserError) as caught:
            ask(name)
        assert f"backbone.name={name} is not supported: {reason}" in str(caught.value)


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"global_pool": ""}, "it pools by global_pool='' instead of token, avg, map"),
        ({"global_pool": "max"}, "it pools by global_pool='max'"),
    ],
)
def test_a_way_of_pooling_that_is_not_known_is_refused(kwargs, reason):
    assert unsupported(timm.create_model("vit_tiny_patch16_224", depth=1, **kwargs)).startswith(reason)


def test_a_part_that_timm_may_add_to_its_blocks_is_not_passed_over():
    vit = timm.create_model("vit_tiny_patch16_224", depth=2)
    vit.blocks[1].attn.gate = torch.nn.Linear(192, 192)
    assert unsupported(vit) == "its blocks have parts that are not known here: gate"


def test_sizes_that_the_model_does_not_take():
    with pytest.raises(UserError, match="cannot be built with .*'embed_dim': 50.* should be divisible by num_heads"):
        describe("deit_t", {"embed_dim": 50})
    with pytest.raises(UserError, match=r"backbone.name=deit_tiny_patch16_224.fb cannot be built \(RuntimeError: "):
        describe("deit_tiny_patch16_224.fb")


@pytest.mark.parametrize("kwargs", [{"init_values": 1e-5}, {"mlp_ratio": 3}, {"num_heads": 6}, {"reg_tokens": 1}])
def test_there_are_no_trained_weights_of_other_sizes(kwargs):
    with pytest.raises(UserError, match="there are no trained weights of these sizes"):
        ufgir.create_model("deit_t", num_classes=5, pretrained=True, backbone_kwargs=kwargs)


def test_a_label_goes_by_the_values_of_the_sizes():
    micro = named_backbones()["micro"][1]
    assert backbone_label("vit_tiny_patch16_224", micro) == "micro"
    other = {**micro, "embed_dim": 192, "depth": 24, "num_heads": 3}
    assert backbone_label("vit_tiny_patch16_224", other) == "vit_tiny_patch16_224_w192_d24_h3_p8"
    assert backbone_label("deit_small_patch16_224.fb_in1k", {}) == "deit_s"
    assert backbone_label("deit_small_patch16_224.fb_in1k", {"reg_tokens": 2}) == "deit_small_patch16_224_reg_tokens2"
    assert backbone_label("vit_base_patch16_224.augreg_in1k") == "vit_base_patch16_224.augreg_in1k"
    assert backbone_label("vit_tiny_patch16_224", {"patch_size": (16, 8)}) == "vit_tiny_patch16_224_p-16-8"
