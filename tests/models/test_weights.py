"""Weights of a backbone from a local file: every official layout, and an error for whatever does not fit."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import ufgir
from layouts import FAMILIES, LAYOUTS, SMALL, TRANSFORMERS, WORDS, body_of, donor, google
from ufgir.errors import UserError
from ufgir.models.weights import load_weights


class Hostile:
    """Writes a file when it is unpickled as any object may."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def load(path: Path, name: str, classes: int = 5, size: int = 32) -> dict[str, torch.Tensor]:
    """The state dict of our small model with weights from a file."""
    model = ufgir.create_model(
        name, num_classes=classes, img_size=size, checkpoint=path, backbone_kwargs=SMALL, reduction_layers=(1,)
    )
    return model.state_dict()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_in_each_layout_fills_the_whole_backbone(layout, tmp_path):
    entries = donor("vit_base_patch16_224")
    torch.save(LAYOUTS[layout](entries), tmp_path / "weights.pth.tar")
    loaded = load(tmp_path / "weights.pth.tar", "vit_b_mocov3")
    for key, value in body_of(entries).items():
        assert torch.equal(loaded[key], value), key
    assert loaded["head.weight"].shape == (5, 48) and 0 < loaded["head.weight"].std() < 0.1, "a new classifier"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_with_the_names_of_its_authors_is_read_as_timm_reads_it(name, tmp_path):
    timm_name, layout = FAMILIES[name]
    small, large = (28, 56) if "dinov2" in name else (32, 64)
    entries = donor(timm_name, size=small)
    torch.save(layout(entries), tmp_path / "weights.pth")
    loaded = load(tmp_path / "weights.pth", name, size=small)
    for key, value in body_of(entries).items():
        assert torch.equal(loaded[key], value), key
    overlay = {"file": str(tmp_path / "weights.pth"), "hf_hub_id": None, "url": ""}
    theirs = timm.create_model(
        timm_name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=5, img_size=large, **SMALL
    )
    loaded = load(tmp_path / "weights.pth", name, size=large)
    assert loaded["pos_embed"].shape[1] == entries["pos_embed"].shape[1] + 12, "resampled from 2 x 2 to 4 x 4 patches"
    for key, value in body_of(theirs.state_dict()).items():
        assert torch.equal(loaded[key], value), key


def test_safetensors_and_a_classifier_that_fits(tmp_path):
    entries = donor("vit_tiny_patch16_224", classes=5)
    save_file(entries, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors", "vit_t")
    assert all(torch.equal(loaded[key], value) for key, value in entries.items())
    assert load(tmp_path / "model.safetensors", "vit_t", classes=6)["head.weight"].shape == (6, 48)


def test_the_files_of_the_first_vits(tmp_path):
    entries = donor("vit_base_patch16_224")
    np.savez(tmp_path / "ViT-B_16.npz", **google(entries))
    loaded = load(tmp_path / "ViT-B_16.npz", "vit_b_in21k")
    for key, value in body_of(entries).items():
        assert torch.equal(loaded[key], value), key
    np.savez(tmp_path / "patch14.npz", **google(donor("vit_base_patch14_dinov2", size=28)))
    with pytest.raises(UserError, match="it lacks blocks.0.ls1.gamma, .*blocks.1.ls2.gamma. Give a file"):
        load(tmp_path / "patch14.npz", "dinov2_b", size=28)


def test_what_is_missing_left_over_or_of_another_shape_is_named(tmp_path):
    entries = donor("deit_tiny_patch16_224")
    del entries["blocks.1.mlp.fc2.bias"]
    entries["dist_token"] = torch.zeros(1, 1, 48)
    entries["norm.weight"] = torch.zeros(50)
    torch.save(entries, tmp_path / "odd.pth")
    with pytest.raises(UserError) as caught:
        load(tmp_path / "odd.pth", "deit_t")
    assert str(caught.value) == (
        f"backbone.checkpoint={tmp_path}/odd.pth does not fit deit_tiny_patch16_224.fb_in1k: it lacks "
        "blocks.1.mlp.fc2.bias; the model has no dist_token; it has norm.weight (50,) instead of (48,). "
        "Give a file with weights of this backbone, or choose the backbone of this file."
    )


@pytest.mark.parametrize(
    ("donated", "asked", "parts"),
    [
        ("deit_tiny_distilled_patch16_224", "deit_t", ["the model has no dist_token, head_dist.weight"]),
        ("vit_small_patch14_reg4_dinov2", "deit_t", ["the model has no reg_token", "blocks.0.ls1.gamma"]),
        ("deit_tiny_patch16_224", "deit3_b", ["it lacks blocks.0.ls1.gamma", "pos_embed (1, 5, 48) instead of (1, 4,"]),
    ],
)  # fmt: skip
def test_the_weights_of_another_backbone_are_an_error(donated, asked, parts, tmp_path):
    torch.save(donor(donated, size=28 if "patch14" in donated else 32), tmp_path / "other.pth")
    with pytest.raises(UserError) as caught:
        load(tmp_path / "other.pth", asked)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_many_faults_are_counted(tmp_path):
    torch.save({"epoch": torch.tensor(3)}, tmp_path / "no.pth")
    with pytest.raises(UserError, match="cls_token, pos_embed, .* and 22 more; the model has no epoch"):
        load(tmp_path / "no.pth", "deit_t")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"epoch": 3, "args": WORDS}, "TypeError: no weights by name, but epoch, args"),
        ([torch.zeros(3)], "TypeError: a list where entries by name were expected"),
        ({}, "TypeError: no weights by name, but nothing"),
    ],
)
def test_a_file_without_weights(content, reason, tmp_path):
    torch.save(content, tmp_path / "none.pth")
    with pytest.raises(UserError) as caught:
        load(tmp_path / "none.pth", "deit_t")
    assert str(caught.value) == (
        f"backbone.checkpoint={tmp_path}/none.pth cannot be read ({reason}). Start from random weights with "
        "backbone.pretrained=false, or give another file."
    )


def test_what_is_no_file_of_weights(tmp_path):
    for name in ("broken.pth", "broken.npz", "broken.safetensors"):
        (tmp_path / name).write_text("not weights")
        with pytest.raises(UserError, match=rf"{name} cannot be read \(\w+"):
            load(tmp_path / name, "deit_t")


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save({"model": donor("deit_tiny_patch16_224"), "args": Hostile(tmp_path / "ran")}, tmp_path / "hostile.pth")
    with pytest.raises(UserError, match=r"it holds .*, which might run code and are not read"):
        load(tmp_path / "hostile.pth", "deit_t")
    assert not (tmp_path / "ran").exists()


def test_mocov3_asks_for_its_file():
    with pytest.raises(UserError, match="backbone=vit_b_mocov3: .*vit-b-300ep.pth.tar"):
        ufgir.create_model("vit_b_mocov3", num_classes=5, pretrained=True)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_files_of_transformers_and_of_dinov2_in_the_other_size(name, tmp_path):
    timm_name, layout = TRANSFORMERS[name]
    small, large = (28, 56) if "dinov2" in name else (32, 64)
    entries = donor(timm_name, size=small)
    torch.save(layout(entries), tmp_path / "weights.bin")
    vit = timm.create_model(timm_name, num_classes=5, img_size=small, **SMALL)
    assert load_weights(vit, tmp_path / "weights.bin", timm_name) == len(body_of(entries))
    for key, value in body_of(entries).items():
        torch.testing.assert_close(vit.state_dict()[key], value, rtol=0, atol=0)
    vit = timm.create_model(timm_name, num_classes=1000, img_size=large, **SMALL)
    classifier = 2 * any(key.startswith("classifier") for key in layout(entries))
    assert load_weights(vit, tmp_path / "weights.bin", timm_name) == len(body_of(entries)) + classifier
    assert vit.pos_embed.shape[1] == entries["pos_embed"].shape[1] + 12, "resampled from 2 x 2 to 4 x 4 patches"
    assert bool(classifier) == torch.equal(vit.head.weight, entries["head.weight"])
