"""Names of groups, choices and settings that do not exist."""

import pytest

BACKBONES = (
    "expected deit3_b, deit3_b_in21k, deit3_l, deit3_m, deit3_s, deit_b, deit_s, deit_t, dinov2_b, dinov2_b_reg, "
    "dinov2_l, dinov2_l_reg, dinov2_s, dinov2_s_reg, micro, vit_b, vit_b_clip, vit_b_dino, vit_b_in21k, vit_b_mae, "
    "vit_b_miil, vit_b_mocov3, vit_l, vit_s or vit_t."
)
DATASETS = "expected cotton80, csv, folder, leaves, soyageing, soygene, soyglobal or soylocal."


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("backbone=deit", f"{BACKBONES} Did you mean backbone=deit_b, backbone=deit_s or backbone=deit_t?"),
        ("backbone=vit_small_patch16_224", f"{BACKBONES} Any other plain ViT of timm is chosen with "
                                           "backbone.name=vit_small_patch16_224."),
        ("dataset=cvs", f"{DATASETS} Did you mean dataset=csv?"),
        ("dataset=/my/images", f"{DATASETS} For your own images: dataset=csv dataset.root=DIR, or dataset=folder "
                               "dataset.root=DIR."),
        ("experiment=dmeo", "expected demo, real_leaves, tome_025 or null. Did you mean experiment=demo?"),
        ("debug=limt", "expected fdr, limit, overfit, profiler or null. Did you mean debug=limit?"),
        ("logger=null", "expected csv or wandb."),
        ("plugins=[cla,clc]", "expected one choice. To start one run for each: plugins=cla,clc --multirun."),
        ("+experiment=demo", "the group experiment is there already. Write experiment=demo."),
        ("plugins@head=cla", "@ has no use here. Write plugins=cla."),
        ("~optim", "every run needs one. Choose optim=adamw."),
    ],
)  # fmt: skip
def test_choices(faults_of, line, fault):
    assert faults_of(line) == [f"{line}: {fault}"]


def test_unknown_reducer_names_the_choices_and_the_nearest(faults_of):
    (fault,) = faults_of("reducer=evti")
    assert fault.startswith("reducer=evti: expected ")
    assert " evit, " in fault and "none" in fault and "topk" in fault
    assert fault.endswith("Did you mean reducer=evit?")


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("keep_rat=0.5", "keep_rate=0.5"),
        ("Seed=3", "seed=3"),
        ("plugin=clca", "plugins=clca"),
        ("model=deit_t", "backbone=deit_t"),
        ("lr=1e-3", "optim.lr=1e-3"),
        ("optim.learning_rate=1", "optim.lr=1"),
        ("optm.lr=1", "optim.lr=1"),
        ("trainer.lr=1", "optim.lr=1"),
        ("batch_size=16", "optim.batch_size=16"),
        ("epochs=3", "trainer.max_epochs=3"),
        ("img_size=448", "image_size=448"),
        ("plugins.cache.num_clrs=2", "plugins.cache.num_clr=2"),
    ],
)
def test_misspelt_names_are_put_right(faults_of, line, meant):
    assert faults_of(line) == [f"{line}: there is no such setting. Did you mean {meant}?"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("plugin=abc", "there is no such setting. Did you mean plugins=base, cla, clc, clca or ifa?"),
        ("augment.foo=3", "there is no such setting; augment has random_crop and hflip."),
        ("foo=3", "there is no such setting. There are keep_rate, reduction_layers, image_size, seed, protocol, keep, "
                  "callbacks, data_root and output_root, and the groups dataset, backbone, reducer, plugins, augment, "
                  "optim, trainer, logger, debug and experiment."),
        ("plugins.name=base", "the name goes with the choice. Write plugins=base."),
        ("plugins.head=cla", "plugins.head has the settings name and multiplier. "
                             "Set one of them: plugins.head.name=VALUE."),
        ("augment={foo:1}", "there is no such setting; augment has random_crop and hflip."),
        ("dataset.val_fraction=0.1", "the present choice has no such setting. It belongs to dataset=folder."),
        ("logger.mode=offline", "the present choice has no such setting. It belongs to logger=wandb."),
        ("optim.lr@x=1", "@ has no use here. Write optim.lr=1."),
        ("~optim.lr", "every setting is needed, none can be taken away. Give it another value: optim.lr=VALUE."),
        ("~foo", "there is no such setting to take away."),
        ("+optim.lr=1", "optim.lr exists. Write it without the plus: optim.lr=1"),
        ("+optim.foo=1", "only below trainer. and backbone.kwargs. can settings be added."),
        ("hydra.run.dir=x", "Hydra's own settings have an effect only with --multirun; run folders lie in "
                            "output_root=DIR."),
        ("hydra/launcher=basic", "Hydra's own settings have an effect only with --multirun; run folders lie in "
                                 "output_root=DIR."),
        ("optim.lr=${oops}", "Interpolation key 'oops' not found."),
    ],
)  # fmt: skip
def test_settings(faults_of, line, fault):
    assert faults_of(line) == [f"{line}: {fault}"]


def test_a_setting_of_another_choice_names_the_choices_that_have_it(faults_of):
    assert faults_of("plugins=base plugins.cache.num_clr=2") == [
        "plugins.cache.num_clr=2: the present choice has no such setting. It belongs to plugins=clc or plugins=clca."
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("trainer.deterministic=true", "trainer.deterministic=true: conf/ has no trainer.deterministic. To pass it on "
                                       "to lightning.Trainer, add a plus: +trainer.deterministic=true"),
        ("backbone.kwargs={depth:6}", "backbone.kwargs={depth:6}: conf/ has no backbone.kwargs.depth. To pass it on to "
                                      "timm's VisionTransformer, add a plus: +backbone.kwargs={depth:6}"),
        ("+trainer.max_epoch=3", "trainer.max_epoch=3: lightning.Trainer takes no max_epoch. "
                                 "Did you mean trainer.max_epochs=3?"),
        ("+trainer.determinstic=true", "trainer.determinstic=true: lightning.Trainer takes no determinstic. "
                                       "Did you mean +trainer.deterministic=true?"),
        ("+trainer.logger=false", "trainer.logger=false: this is not yours to set; use logger=csv or wandb."),
        ("+backbone.kwargs.dept=6", "backbone.kwargs.dept=6: timm's VisionTransformer takes no dept. "
                                    "Did you mean +backbone.kwargs.depth=6?"),
        ("+backbone.kwargs.img_size=96", "backbone.kwargs.img_size=96: this is not yours to set; use image_size."),
    ],
)  # fmt: skip
def test_what_is_passed_on_to_lightning_and_timm(faults_of, line, fault):
    assert faults_of(line) == [fault]


def test_what_may_be_added_arrives(settings_of):
    settings = settings_of("+trainer.deterministic=true ++backbone.kwargs.qkv_bias=false ++seed=7 ~experiment")
    assert settings["trainer"]["deterministic"] is True
    assert settings["backbone"]["kwargs"] == {"qkv_bias": False}
    assert settings["seed"] == 7


def test_an_added_setting_may_be_taken_away(settings_of):
    kwargs = settings_of("backbone=micro ~backbone.kwargs.patch_size")["backbone"]["kwargs"]
    assert kwargs == {"embed_dim": 64, "depth": 12, "num_heads": 2}
