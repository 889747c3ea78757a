"""Weights of a backbone from a local file: every official layout, and an error for whatever does not fit."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import ufgir
from layouts import LAYOUTS, SMALL, WORDS, body_of, donor, google
from ufgir.errors import UserError


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


def refusal(path: Path, name: str = "deit_t", size: int = 32) -> str:
    with pytest.raises(UserError) as caught:
        load(path, name, size=size)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_in_each_layout_fills_the_whole_backbone_as_timm_does(layout, tmp_path, caplog):
    caplog.set_level("INFO")
    name, lay_out = LAYOUTS[layout]
    small, large = (28, 56) if "dinov2" in name else (32, 64)
    entries = donor(name, size=small)
    torch.save(lay_out(entries), tmp_path / "weights.pth.tar")
    loaded = load(tmp_path / "weights.pth.tar", name, size=small)
    for key, value in body_of(entries).items():
        torch.testing.assert_close(loaded[key], value, rtol=0, atol=0, msg=key)
    assert f"weights.pth.tar: {len(body_of(entries))} tensors loaded, 2 of the classifier are new" in caplog.text
    assert loaded["head.weight"].shape == (5, 48) and 0 < loaded["head.weight"].std() < 0.1, "a new classifier"
    torch.save(body_of(entries) if "dinov2" in name else entries, tmp_path / "timm.pth")
    overlay = {"file": str(tmp_path / "timm.pth"), "hf_hub_id": None, "url": ""}
    theirs = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, img_size=large, **SMALL)
    loaded = load(tmp_path / "weights.pth.tar", name, size=large, classes=1000)
    assert loaded["pos_embed"].shape[1] == entries["pos_embed"].shape[1] + 12, "resampled from 2 x 2 to 4 x 4 patches"
    assert all(torch.equal(loaded[key], value) for key, value in body_of(theirs.state_dict()).items())
    has_classifier = layout in ("deit", "deit3", "timm training") or layout.startswith("transformers vit")
    assert torch.equal(loaded["head.weight"], entries["head.weight"]) == has_classifier


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
    assert all(torch.equal(loaded[key], value) for key, value in body_of(entries).items())
    np.savez(tmp_path / "patch14.npz", **google(donor("vit_base_patch14_dinov2", size=28)))
    assert "it lacks blocks.0.ls1.gamma" in refusal(tmp_path / "patch14.npz", "dinov2_b", size=28)


def test_what_is_missing_left_over_or_of_another_shape_is_named(tmp_path):
    entries = donor("deit_tiny_patch16_224")
    del entries["blocks.1.mlp.fc2.bias"]
    entries |= {"dist_token": torch.zeros(1, 1, 48), "norm.weight": torch.zeros(50)}
    torch.save(entries, tmp_path / "odd.pth")
    message = refusal(tmp_path / "odd.pth")
    for part in ("lacks blocks.1.mlp.fc2.bias;", "has no dist_token;", "norm.weight (50,) instead of (48,)"):
        assert part in message
    torch.save({"epoch": torch.tensor(3)}, tmp_path / "no.pth")
    assert " and 20 more; the model has no epoch" in refusal(tmp_path / "no.pth")
    torch.save(donor("deit_tiny_patch16_224"), tmp_path / "other.pth")
    assert "pos_embed (1, 5, 48) instead of (1, 4," in refusal(tmp_path / "other.pth", "deit3_b")


@pytest.mark.parametrize(
    ("content", "reason"),
    [({"epoch": 3, "args": WORDS}, "epoch, args"), ([torch.zeros(3)], "a list"), ({}, "nothing")],
)
def test_a_file_without_weights(content, reason, tmp_path):
    torch.save(content, tmp_path / "none.pth")
    assert reason in refusal(tmp_path / "none.pth")


@pytest.mark.parametrize("name", ["broken.pth", "broken.npz", "broken.safetensors"])
def test_what_is_no_file_of_weights(name, tmp_path):
    (tmp_path / name).write_text("not weights")
    assert "cannot be read (" in refusal(tmp_path / name)


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save({"model": donor("deit_tiny_patch16_224"), "args": Hostile(tmp_path / "ran")}, tmp_path / "hostile.pth")
    assert "which an ordinary load would run" in refusal(tmp_path / "hostile.pth")
    assert not (tmp_path / "ran").exists()


def test_mocov3_asks_for_its_file():
    with pytest.raises(UserError, match="backbone=vit_b_mocov3: .*vit-b-300ep.pth.tar"):
        ufgir.create_model("vit_b_mocov3", num_classes=5, pretrained=True)
