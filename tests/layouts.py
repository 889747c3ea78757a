"""Small random weights of a backbone, laid out as the official files are."""

import argparse
import re
from collections.abc import Callable, Mapping

import numpy as np
import timm
import torch

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 2}
WORDS = argparse.Namespace(lr=0.1, data="imagenet")


def donor(name: str, classes: int = 1000, size: int = 32) -> dict[str, torch.Tensor]:
    """The state dict of a small timm model with distinct random weights."""
    torch.manual_seed(1)
    entries = timm.create_model(name, num_classes=classes, img_size=size, **SMALL).state_dict()
    return {key: torch.randn_like(value) for key, value in entries.items()}


def with_prefix(prefix: str, entries: dict) -> dict:
    return {f"{prefix}{key}": value for key, value in entries.items()}


def body_of(entries: dict) -> dict:
    """The entries without the classifier."""
    return {key: value for key, value in entries.items() if not key.startswith("head.")}


def renamed(entries: dict, names: Mapping[str, str]) -> dict:
    """The entries by other names, patterns of ours to theirs."""
    given = {}
    for key, value in entries.items():
        for ours, theirs in names.items():
            key = re.sub(ours, theirs, key)
        given[key] = value
    return given


def mocov3(entries: dict) -> dict:
    """As `main_moco.py` saves it: two encoders with projectors and a predictor, below DDP's prefix."""
    encoder = body_of(entries) | {"head.0.weight": torch.zeros(9, 48)}
    momentum = {key: torch.zeros_like(value) for key, value in encoder.items()}
    everything = with_prefix("base_encoder.", encoder) | with_prefix("momentum_encoder.", momentum)
    everything["predictor.0.weight"] = torch.zeros(9, 9)
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    return {"epoch": 300, "state_dict": with_prefix("module.", everything), "optimizer": optimizer}


def dino(entries: dict) -> dict:
    """As DINO's `full_checkpoint` files."""
    teacher = with_prefix("backbone.", body_of(entries)) | {"head.mlp.0.weight": torch.zeros(9, 48)}
    student = {f"module.{key}": torch.zeros_like(value) for key, value in teacher.items()}
    return {"student": student, "teacher": teacher, "args": WORDS, "dino_loss": {"center": torch.zeros(9)}}


def timm_training(entries: dict) -> dict:
    """As timm's own training, compiled and below DDP, with a moving average."""
    latest = {key: torch.zeros_like(value) for key, value in entries.items()}
    return {
        "args": WORDS,
        "metric": 0.5,
        "state_dict": latest,
        "state_dict_ema": with_prefix("module._orig_mod.", entries),
    }


def dinov2(entries: dict) -> dict:
    """As the official DINOv2 files: with registers the position embedding of the class token is not yet in it."""
    entries = body_of(entries) | {"mask_token": torch.zeros(1, 48)}
    if "reg_token" in entries:
        entries["register_tokens"] = entries.pop("reg_token")
        entries["pos_embed"] = torch.cat((torch.zeros(1, 1, 48), entries["pos_embed"]), dim=1)
    return entries


def clip(entries: dict) -> dict:
    """As OpenCLIP's files: both towers, the image's in the names of CLIP."""
    names = {
        r"patch_embed\.proj": "conv1", "pos_embed": "positional_embedding", "cls_token": "class_embedding",
        "norm_pre": "ln_pre", r"blocks\.": "transformer.resblocks.", r"attn\.qkv\.": "attn.in_proj_",
        r"attn\.proj": "attn.out_proj", r"mlp\.fc1": "mlp.c_fc", r"mlp\.fc2": "mlp.c_proj", r"norm(\d)": r"ln_\1",
        r"norm\.": "ln_post.",
    }  # fmt: skip
    given = {key: v.squeeze() if "embedding" in key else v for key, v in renamed(body_of(entries), names).items()}
    return with_prefix("visual.", given) | {"visual.proj": torch.zeros(48, 512), "logit_scale": torch.zeros(())}


def google(entries: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Small weights in the names and shapes of Google's `.npz` files."""
    width, heads = SMALL["embed_dim"], SMALL["num_heads"]
    given = {
        "embedding/kernel": entries["patch_embed.proj.weight"].permute(2, 3, 1, 0),
        "embedding/bias": entries["patch_embed.proj.bias"],
        "cls": entries["cls_token"],
        "Transformer/posembed_input/pos_embedding": entries["pos_embed"],
        "Transformer/encoder_norm/scale": entries["norm.weight"],
        "Transformer/encoder_norm/bias": entries["norm.bias"],
    }
    for block in range(SMALL["depth"]):
        theirs = f"Transformer/encoderblock_{block}/"
        attention = f"{theirs}MultiHeadDotProductAttention_1/"
        part = {key.removeprefix(f"blocks.{block}."): value for key, value in entries.items()}
        for number, kind in enumerate(("query", "key", "value")):
            weight, bias = (part[f"attn.qkv.{word}"].chunk(3)[number] for word in ("weight", "bias"))
            given[f"{attention}{kind}/kernel"] = weight.T.reshape(width, heads, -1)
            given[f"{attention}{kind}/bias"] = bias.reshape(heads, -1)
        given[f"{attention}out/kernel"] = part["attn.proj.weight"].T.reshape(heads, -1, width)
        given[f"{attention}out/bias"] = part["attn.proj.bias"]
        for number in (0, 1):
            for word, short in (("weight", "scale"), ("bias", "bias")):
                given[f"{theirs}LayerNorm_{2 * number}/{short}"] = part[f"norm{number + 1}.{word}"]
            given[f"{theirs}MlpBlock_3/Dense_{number}/kernel"] = part[f"mlp.fc{number + 1}.weight"].T
            given[f"{theirs}MlpBlock_3/Dense_{number}/bias"] = part[f"mlp.fc{number + 1}.bias"]
    return {key: value.numpy() for key, value in given.items()}


def transformers(entries: dict, prefix: str = "") -> dict:
    """As a ViT, or a DINOv2, of Hugging Face Transformers."""
    is_dinov2 = "blocks.0.ls1.gamma" in entries
    names = {
        r"^patch_embed\.proj": "embeddings.patch_embeddings.projection",
        r"^pos_embed": "embeddings.position_embeddings",
        r"^(cls_token|mask_token|register_tokens)": r"embeddings.\1", r"^norm\.": "layernorm.",
        r"^blocks\.": "encoder.layer.", r"attn\.proj": "attention.output.dense",
        r"ls(\d)\.gamma": r"layer_scale\1.lambda1",
    }  # fmt: skip
    if not is_dinov2:
        names |= {r"\.norm1": ".layernorm_before", r"\.norm2": ".layernorm_after"}
        names |= {r"mlp\.fc1": "intermediate.dense", r"mlp\.fc2": "output.dense"}
    given = renamed(dinov2(entries) if is_dinov2 else body_of(entries), names)
    for key in [key for key in given if "attn.qkv" in key]:
        for kind, part in zip(("query", "key", "value"), given.pop(key).chunk(3), strict=True):
            given[key.replace("attn.qkv", f"attention.attention.{kind}")] = part.clone()
    if is_dinov2:
        return given
    classifier = {f"classifier.{part}": entries[f"head.{part}"] for part in ("weight", "bias")}
    return with_prefix(prefix, given | {"pooler.dense.weight": torch.zeros(48, 48)}) | classifier


LAYOUTS: dict[str, tuple[str, Callable[[dict], dict]]] = {
    "mocov3": ("vit_base_patch16_224", mocov3),
    "deit": ("vit_base_patch16_224", lambda entries: {"model": entries, "args": WORDS, "optimizer": {"state": {}}}),
    "dino": ("vit_base_patch16_224", dino),
    "timm training": ("vit_base_patch16_224", timm_training),
    "deit3": ("deit3_small_patch16_224", lambda e: {"model": renamed(e, {r"ls(\d)\.gamma": r"gamma_\1"})}),
    "dinov2": ("vit_small_patch14_dinov2", dinov2),
    "dinov2 registers": ("vit_small_patch14_reg4_dinov2", dinov2),
    "clip": ("vit_base_patch16_clip_224", clip),
    "transformers vit": ("vit_base_patch16_224", lambda entries: transformers(entries, "vit.")),
    "transformers vit, backbone alone": ("vit_base_patch16_224", transformers),
    "transformers dinov2": ("vit_small_patch14_dinov2", transformers),
    "transformers dinov2 registers": ("vit_small_patch14_reg4_dinov2", transformers),
}
