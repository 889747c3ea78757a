"""Small random weights of a backbone, laid out as the official files are."""

import argparse
import re
from collections.abc import Callable

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


def mocov3(entries: dict) -> dict:
    """As `main_moco.py` saves it: two encoders with projectors and a predictor, below DDP's prefix."""
    encoder = body_of(entries) | {"head.0.weight": torch.zeros(9, 48), "head.3.weight": torch.zeros(9, 9)}
    momentum = {key: torch.zeros_like(value) for key, value in encoder.items()}
    everything = with_prefix("base_encoder.", encoder) | with_prefix("momentum_encoder.", momentum)
    everything["predictor.0.weight"] = torch.zeros(9, 9)
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    weights = with_prefix("module.", everything)
    return {"epoch": 300, "arch": "vit_base", "state_dict": weights, "optimizer": optimizer, "scaler": {"scale": 1.0}}


def dino(entries: dict) -> dict:
    """As DINO's `full_checkpoint` files."""
    teacher = with_prefix("backbone.", body_of(entries)) | {"head.mlp.0.weight": torch.zeros(9, 48)}
    student = {f"module.{key}": torch.zeros_like(value) for key, value in teacher.items()}
    return {"student": student, "teacher": teacher, "args": WORDS, "dino_loss": {"center": torch.zeros(9)}}


def dinov2(entries: dict) -> dict:
    """As the official DINOv2 files: the position embedding of the class token is not yet in it."""
    entries = body_of(entries)
    registers, positions = entries.pop("reg_token"), entries.pop("pos_embed")
    positions = torch.cat((torch.zeros(1, 1, 48), positions), dim=1)
    return entries | {"register_tokens": registers, "pos_embed": positions, "mask_token": torch.zeros(1, 48)}


def clip(entries: dict) -> dict:
    """As OpenCLIP's files: both towers, the image's in the names of CLIP."""
    names = {
        "patch_embed.proj": "conv1", "pos_embed": "positional_embedding", "cls_token": "class_embedding",
        "norm_pre": "ln_pre", "blocks.": "transformer.resblocks.", "attn.qkv.": "attn.in_proj_",
        "attn.proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "norm1": "ln_1", "norm2": "ln_2",
    }  # fmt: skip
    given = {"visual.proj": torch.zeros(48, 512), "logit_scale": torch.zeros(()), "ln_final.weight": torch.ones(3)}
    for key, value in body_of(entries).items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        key = key.replace("norm.", "ln_post.")
        given[f"visual.{key}"] = value.squeeze() if "embedding" in key else value
    return given


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
        part = {key.removeprefix(f"blocks.{block}."): value for key, value in entries.items()}
        for number, norm in ((0, "norm1"), (2, "norm2")):
            given[f"{theirs}LayerNorm_{number}/scale"] = part[f"{norm}.weight"]
            given[f"{theirs}LayerNorm_{number}/bias"] = part[f"{norm}.bias"]
        attention = f"{theirs}MultiHeadDotProductAttention_1/"
        for number, kind in enumerate(("query", "key", "value")):
            weight, bias = (part[f"attn.qkv.{word}"].chunk(3)[number] for word in ("weight", "bias"))
            given[f"{attention}{kind}/kernel"] = weight.T.reshape(width, heads, -1)
            given[f"{attention}{kind}/bias"] = bias.reshape(heads, -1)
        given[f"{attention}out/kernel"] = part["attn.proj.weight"].T.reshape(heads, -1, width)
        given[f"{attention}out/bias"] = part["attn.proj.bias"]
        for number in range(2):
            given[f"{theirs}MlpBlock_3/Dense_{number}/kernel"] = part[f"mlp.fc{number + 1}.weight"].T
            given[f"{theirs}MlpBlock_3/Dense_{number}/bias"] = part[f"mlp.fc{number + 1}.bias"]
    return {key: value.numpy() for key, value in given.items()}


LAYOUTS: dict[str, Callable[[dict], dict]] = {
    "timm": lambda entries: entries,
    "mocov3": mocov3,
    "mocov3 linear": lambda entries: {
        "epoch": 90, "state_dict": with_prefix("module.", entries), "best_acc1": torch.tensor(76.7), "args": WORDS
    },
    "mae": lambda entries: {"model": body_of(entries)},
    "deit": lambda entries: {"model": entries, "args": WORDS, "epoch": 299, "optimizer": {"state": {}}},
    "dino": body_of,
    "dino full": dino,
    "timm training": lambda entries: {
        "epoch": 3, "arch": "vit", "args": WORDS, "metric": 0.5, "state_dict_ema": entries,
        "state_dict": {key: torch.zeros_like(value) for key, value in entries.items()},
    },
    "compiled": lambda entries: {"state_dict": with_prefix("module._orig_mod.", entries)},
}  # fmt: skip


FAMILIES: dict[str, tuple[str, Callable[[dict], dict]]] = {
    "deit3_s": (
        "deit3_small_patch16_224",
        lambda entries: {"model": {re.sub(r"ls(\d)\.gamma", r"gamma_\1", key): v for key, v in entries.items()}},
    ),
    "dinov2_s_reg": ("vit_small_patch14_reg4_dinov2", dinov2),
    "vit_b_clip": ("vit_base_patch16_clip_224", clip),
}


def transformers_vit(entries: dict, prefix: str = "vit.") -> dict:
    """As a ViT of Hugging Face Transformers, with its classifier."""
    given = {
        f"{prefix}{key}": value
        for key, value in _transformers(body_of(entries), "layernorm_before", "layernorm_after").items()
    }
    given |= {f"classifier.{part}": entries[f"head.{part}"] for part in ("weight", "bias")}
    return given | {f"{prefix}pooler.dense.weight": torch.zeros(48, 48)}


def transformers_dinov2(entries: dict) -> dict:
    """As a DINOv2 of Hugging Face Transformers: position embedding and class token as in the official files."""
    official = dinov2(entries) if "reg_token" in entries else with_mask(entries)
    return _transformers(official, "norm1", "norm2")


def with_mask(entries: dict) -> dict:
    """As the official DINOv2 files without registers."""
    return body_of(entries) | {"mask_token": torch.zeros(1, 48)}


def _transformers(entries: dict, norm1: str, norm2: str) -> dict:
    names = {
        r"^patch_embed\.proj": "embeddings.patch_embeddings.projection",
        r"^pos_embed": "embeddings.position_embeddings",
        r"^(cls_token|mask_token|register_tokens)": r"embeddings.\1", r"^norm\.": "layernorm.",
        r"^blocks\.": "encoder.layer.", r"attn\.proj": "attention.output.dense",
        r"\.norm1": f".{norm1}", r"\.norm2": f".{norm2}", r"ls(\d)\.gamma": r"layer_scale\1.lambda1",
    }  # fmt: skip
    if norm1 != "norm1":
        names |= {r"mlp\.fc1": "intermediate.dense", r"mlp\.fc2": "output.dense"}
    given = {}
    for key, value in entries.items():
        for ours, theirs in names.items():
            key = re.sub(ours, theirs, key)
        if "attn.qkv" in key:
            for kind, part in zip(("query", "key", "value"), value.chunk(3), strict=True):
                given[key.replace("attn.qkv", f"attention.attention.{kind}")] = part.clone()
        else:
            given[key] = value
    return given


TRANSFORMERS: dict[str, tuple[str, Callable[[dict], dict]]] = {
    "vit": ("vit_base_patch16_224", transformers_vit),
    "vit without a prefix": ("vit_base_patch16_224", lambda entries: transformers_vit(entries, "")),
    "dinov2": ("vit_small_patch14_dinov2", transformers_dinov2),
    "dinov2 registers": ("vit_small_patch14_reg4_dinov2", transformers_dinov2),
    "dinov2 official": (
        "vit_small_patch14_dinov2",
        with_mask,
    ),
}
