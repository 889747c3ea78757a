"""What settings must satisfy together."""

import pytest

DEIT = "deit_small_patch16_224.fb_in1k"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("image_size=225", f"image_size=225: expected a multiple of 16, the patch size of {DEIT}. "
                           "Did you mean image_size=224?"),
        ("image_size=5", f"image_size=5: expected a multiple of 16, the patch size of {DEIT}. "
                         "Did you mean image_size=16?"),
        ("backbone=micro image_size=100", "image_size=100: expected a multiple of 8, the patch size of "
                                          "vit_tiny_patch16_224. Did you mean image_size=96?"),
        ("backbone=dinov2_b image_size=256", "image_size=256: expected a multiple of 14, the patch size of "
                                             "vit_base_patch14_dinov2.lvd142m. Did you mean image_size=252?"),
        ("backbone.name=vit_base_r26_s32_224 image_size=240", "image_size=240: expected a multiple of 32, the patch "
                                                              "size of vit_base_r26_s32_224. Did you mean "
                                                              "image_size=256?"),
        ("reduction_layers=[3,6,12]", f"reduction_layers=[3,6,12]: there is no block 12; {DEIT} has 12 blocks, "
                                      "numbered from 0 to 11."),
        ("reduction_layers=[9,3,3]", "reduction_layers=[9,3,3]: expected ascending blocks, each of them once. "
                                     "Did you mean reduction_layers=[3,9]?"),
        ("+backbone.kwargs.depth=6", f"reduction_layers=[3,6,9]: there is no block 6 or 9; {DEIT} has 6 blocks, "
                                     "numbered from 0 to 5."),
        ("keep_rate=[0.5,0.7]", "keep_rate=[0.5,0.7]: 2 rates for the 3 layers of reduction_layers=[3,6,9]. "
                                "Give one for each of them, or one number for all."),
        ("plugins.cache.num_clr=0 plugins.cache.gap=false",
         "plugins.cache.num_clr=0 with plugins.cache.gap=false: the cache would hold nothing. "
         "Set one of the two, or choose plugins=cla or plugins=base."),
        ("optim.batch_size=1", "optim.batch_size=1 with plugins=clca: the BatchNorm of the CLA head needs two images "
                               "to train. Give at least optim.batch_size=2, or choose plugins=base or plugins=clc."),
        ("trainer.max_epochs=8 optim.warmup_epochs=5 optim.cooldown_epochs=3",
         "optim.warmup_epochs=5 and optim.cooldown_epochs=3: they leave nothing of trainer.max_epochs=8 to the cosine. "
         "Their sum may be 7 at most; null chooses both by the number of epochs."),
        ("image_size=448 dataset.resize=400",
         "dataset.resize=400: expected at least image_size=448, which is cropped out of it. Leave it out for 512."),
        ("dataset=csv backbone=deit_t +backbone.kwargs.init_values=0.1",
         "backbone.kwargs={init_values:0.1}: there are no trained weights of these sizes. "
         "Start from random ones with backbone.pretrained=false, or leave the sizes as they are."),
        ("dataset=csv backbone=micro backbone.pretrained=true",
         "backbone.kwargs={patch_size:8,embed_dim:64,depth:12,num_heads:2}: there are no trained weights of these "
         "sizes. Start from random ones with backbone.pretrained=false, or leave the sizes as they are."),
    ],
)  # fmt: skip
def test_relations(faults_of, line, fault):
    assert faults_of(line) == [fault]


@pytest.mark.parametrize("setting", ["keep_rate", "reducer.keep_rate"])
def test_no_reducer_keeps_every_token(faults_of, setting):
    (fault,) = faults_of(f"reducer=none {setting}=0.5")
    assert fault.startswith(
        f"{setting}=0.5 with reducer=none: without a reducer every token is kept. Leave {setting} out, or choose "
    )
    assert "reducer=evit" in fault and "reducer=topk" in fault and "reducer=none." not in fault


@pytest.mark.parametrize("rate", ["1", "1.0", "[1,1,1]", "null"])
def test_no_reducer_with_everything_kept_is_sound(faults_of, rate):
    assert faults_of(f"reducer=none keep_rate={rate}") == []


def test_missing_checkpoint(faults_of, empty_folder):
    assert faults_of("backbone.checkpoint=weights.pth") == [
        f"backbone.checkpoint=weights.pth: there is no such file; looked at {empty_folder}/weights.pth. "
        "Give a file with weights of this backbone, or backbone.checkpoint=null."
    ]


def test_unknown_backbone_names_the_nearest(faults_of):
    (fault,) = faults_of("backbone.name=deit_smal_patch16_224 image_size=225 reduction_layers=[3,99]")
    assert fault.startswith("backbone.name=deit_smal_patch16_224 ")
    assert "deit_small_patch16_224" in fault


def test_sizes_that_timm_cannot_build(faults_of):
    (fault,) = faults_of("+backbone.kwargs.norm_layer=nrom")
    assert fault == f"backbone.name={DEIT} cannot be built with {{'norm_layer': 'nrom'}} (KeyError: 'nrom')."


def test_patches_that_are_no_squares(faults_of):
    assert faults_of("backbone=micro backbone.kwargs.patch_size=[8,12] image_size=32") == [
        "image_size=32: expected a multiple of 24, the patch size of vit_tiny_patch16_224. Did you mean image_size=24?"
    ]


def test_both_faults_of_the_layers_are_told(faults_of):
    assert [fault.partition(": ")[2][:8] for fault in faults_of("reduction_layers=[12,3]")] == ["expected", "there is"]
