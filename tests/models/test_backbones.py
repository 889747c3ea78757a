"""Backbones: those of the paper and the common ones by name, any plain ViT of timm, and a reason for every other."""

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

import ufgir
from ufgir.errors import UserError
from ufgir.models.backbones import backbone_label, build_on_meta, describe, named_backbones, unsupported

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
SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2}
KINDS = {
    "deit3_b": {},  # no position embedding for the class token
    "vit_b_clip": {},  # a norm before the blocks
    "vit_b_miil": {},  # no bias in qkv
    "dinov2_b_reg": {},  # registers and layer scale
    "vit_giant_patch14_reg4_dinov2": {},  # another kind of MLP
    "eva_large_patch14_196": {},  # the mean of the patches is classified
    "vit_base_patch16_siglip_224": {},  # no class token
    "vit_base_r50_s16_224": {},  # patches of a convolutional stem
    "vit_small_patch16_224": {"qk_norm": True, "dynamic_img_size": True, "reg_tokens": 2, "drop_path_rate": 0.1},
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
    vit, ours, images = pair(name, kwargs, keep_rate=0.3, reduction_layers=(1,))
    assert torch.equal(ours(images), vit(images)) and ours.state_dict().keys() == vit.state_dict().keys()
    logits = []
    for model in (vit.train(), ours.train()):
        torch.manual_seed(0)
        logits.append(model(images))
    assert torch.equal(*logits)
    if vit.has_class_token:
        vit, ours, images = pair(name, kwargs, reducer="topk", keep_rate=0.999, reduction_layers=(0, 1))
        torch.testing.assert_close(ours(images), vit(images), rtol=1e-4, atol=1e-5)


def test_the_papers_nine_are_there():
    assert {name: named_backbones()[name][0] for name in PAPER} == PAPER


@pytest.mark.parametrize("name", named_backbones())
def test_a_named_backbone_has_weights_and_takes_both_sizes_of_the_paper(name):
    timm_name, kwargs = named_backbones()[name]
    assert backbone_label(timm_name, kwargs) == name
    assert bool(kwargs) != (timm_name in timm.list_pretrained()), "no weights of timm only for sizes of its own"
    patch = describe(name).patch[0]
    small, large = (build_on_meta(timm_name, img_size=size, **kwargs).pos_embed.shape[1] for size in (224, 448))
    assert large - small == 3 * (224 // patch) ** 2


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_plain_vit_is_timms(name):
    check_like_timm(name, {**SMALL, **KINDS[name]})


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
        # The stems of some have the width of the blocks, so only the depth can be made small.
        check_like_timm(name, {"depth": 2} if name.startswith(("vit_base_mci", "vitamin_")) else SMALL)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("swin_base_patch4_window7_224", "it is a SwinTransformer"),
        ("vit_relpos_small_patch16_224", "it is a VisionTransformerRelPos"),
        ("deit_small_distilled_patch16_224", "it is a VisionTransformerDistilled"),
        ("vit_base_patch16_xp_224", "its blocks are built of ParallelScalingBlock"),
    ],
)
def test_a_backbone_that_is_no_plain_vit_is_refused_by_name(name, reason):
    for ask in (describe, lambda name: ufgir.create_model(name, num_classes=5, img_size=64)):
        with pytest.raises(UserError) as caught:
            ask(name)
        assert f"backbone.name={name} is not supported: {reason}" in str(caught.value)


def test_what_timm_may_add_to_a_vit_is_not_passed_over():
    assert unsupported(timm.create_model("vit_tiny_patch16_224", depth=1, global_pool="max")).startswith("it pools by")
    vit = timm.create_model("vit_tiny_patch16_224", depth=2)
    vit.blocks[1].attn.gate = torch.nn.Linear(192, 192)
    assert unsupported(vit) == "its attention layers have parts that are not known here: gate"


def test_sizes_that_the_model_does_not_take():
    with pytest.raises(UserError, match="cannot be built with .*'embed_dim': 50.* should be divisible by num_heads"):
        describe("deit_t", {"embed_dim": 50})
    with pytest.raises(UserError, match=r"backbone.name=deit_tiny_patch16_224.fb cannot be built \(RuntimeError: "):
        describe("deit_tiny_patch16_224.fb")
    assert describe("vit_tiny_r_s16_p8_224").patch == (32, 32), "what a patch token stands for, stem included"


@pytest.mark.parametrize("kwargs", [{"init_values": 1e-5}, {"mlp_ratio": 3}, {"num_heads": 6}, {"reg_tokens": 1}])
def test_there_are_no_trained_weights_of_other_sizes(kwargs):
    with pytest.raises(UserError, match="there are no pretrained weights for these sizes"):
        ufgir.create_model("deit_t", num_classes=5, pretrained=True, backbone_kwargs=kwargs)


def test_a_label_goes_by_the_values_of_the_sizes():
    micro = named_backbones()["micro"][1]
    for (name, kwargs), label in (
        (("vit_tiny_patch16_224", micro), "micro"),
        (("vit_tiny_patch16_224", {**micro, "embed_dim": 192, "depth": 24}), "vit_tiny_patch16_224_w192_d24_h2_p8"),
        (("deit_small_patch16_224.fb_in1k", {}), "deit_s"),
        (("deit_small_patch16_224.fb_in1k", {"reg_tokens": 2}), "deit_small_patch16_224_reg_tokens2"),
        (("vit_base_patch16_224.augreg_in1k", None), "vit_base_patch16_224.augreg_in1k"),
        (("vit_tiny_patch16_224", {"patch_size": (16, 8)}), "vit_tiny_patch16_224_p-16-8"),
    ):
        assert backbone_label(name, kwargs) == label
