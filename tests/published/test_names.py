"""Names of the authors' runs and models."""

from pathlib import Path

import pytest

from ufgir.models import describe
from ufgir.published import Fact
from ufgir.published.names import model_facts, name_facts, run_facts

RUNS = {
    "soygene_evit_vit_base_patch16_clip_224.laion2b_0.1_cla_clc_1_30":
        ("vit_base_patch16_clip_224.laion2b", "evit", 0.1, "cla", True, "soygene"),
    "cotton_evit_vit_base_patch16_224.orig_in21k_0.1_cla_clc_30":
        ("vit_base_patch16_224.orig_in21k", "evit", 0.1, "cla", True, "cotton"),
    "soylocal_deit_base_patch16_224.fb_in1k_7":
        ("deit_base_patch16_224.fb_in1k", "none", None, "linear", False, "soylocal"),
    "soylocal_dyvit_vit_base_patch16_224_miil.in21k_0.25_12":
        ("vit_base_patch16_224_miil.in21k", "dyvit", 0.25, "linear", False, "soylocal"),
    "soyageing_patchmerger_deit3_base_patch16_224.fb_in22k_ft_in1k_0.7_clc_1_3":
        ("deit3_base_patch16_224.fb_in22k_ft_in1k", "patchmerger", 0.7, "linear", True, "soyageing"),
    "soyglobal_deit3_base_patch16_224.fb_in1k_cla_9":
        ("deit3_base_patch16_224.fb_in1k", "none", None, "cla", False, "soyglobal"),
    "soygene_tome_vit_base_patch16_224.in1k_mocov3_0.5_ifa_fz_2":
        ("vit_b_mocov3", "tome", 0.5, "ifa", False, "soygene"),
    "my_set_sit_vit_base_patch16_224.dino_0.25_4":
        ("vit_base_patch16_224.dino", "sit", 0.25, "linear", False, "my_set"),
    "cub_kmedoids_vit_base_patch16_224.mae_0.9_4":
        ("vit_base_patch16_224.mae", "kmedoids", 0.9, "linear", False, "cub"),
}  # fmt: skip  # the paper's nine backbones


@pytest.mark.parametrize(("name", "facts"), RUNS.items())
def test_names_of_runs(name, facts):
    keys = ("backbone", "reducer", "keep_rate", "plugins.head.name", "plugins.cache", "dataset")
    found = run_facts(name)
    assert describe(found["backbone"]).depth == 12
    assert tuple(found.get(key) for key in keys) == facts
    assert name_facts(Path(f"{name}.pth"))["backbone"] == Fact(facts[0], "file name")
    assert name_facts(Path(name) / "best_checkpoint.pth")["reducer"] == Fact(facts[1], "folder name")


def test_names_of_models():
    assert model_facts("ats_deit3_base_patch16_224.fb_in1k") == {
        "backbone": "deit3_base_patch16_224.fb_in1k", "reducer": "ats"
    }  # fmt: skip
    assert model_facts("vit_b16") == {"backbone": "vit_base_patch16_224", "reducer": "none"}
    assert model_facts("resnet50") == {} == run_facts("model_best")
