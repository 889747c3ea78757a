"""Checkpoints as the paper's authors published them, with the golden weights; their settings have the real names."""

import argparse
import json
from functools import cache
from pathlib import Path

import torch

from golden.weights import fill

GOLDEN = json.loads((Path(__file__).parent / "golden" / "cases.json").read_text())
CASES = {case["id"]: case for case in GOLDEN["cases"]}


def shapes_of(case: dict) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a case's entries."""
    return {name: tuple(shape) for name, shape in GOLDEN["state_dicts"][case["state_dict"]].items()}


@cache
def weights(case_id: str, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """The weights of a golden case in the authors' names."""
    filled = {name: torch.from_numpy(fill(name, shape).copy()) for name, shape in shapes_of(CASES[case_id]).items()}
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in filled.items()}


def with_classes(state_dict: dict[str, torch.Tensor], classes: int) -> dict[str, torch.Tensor]:
    """The same weights with a classifier of fewer classes."""
    head = "ifa_head.0.4." if "ifa_head.0.4.weight" in state_dict else "head."
    return {name: value[:classes].clone() if name.startswith(head) else value for name, value in state_dict.items()}


def settings(case_id: str, **changes) -> dict:
    """What the training program of the first release would have recorded, as far as it tells of the model."""
    case = CASES[case_id]
    prefix, resize = "" if case["reducer"] == "none" else f"{case['reducer']}_", int(case["img_size"] / 0.875)
    recorded = {
        "model": f"{prefix}{case['backbone']}.fb_in1k", "keep_rate": [case["keep_rate"]],
        "reduction_loc": case["reduction_layers"], "input_size": case["img_size"], "resize_size": resize,
        "test_resize_size": resize, "num_classes": case["num_classes"], "ifa_head": case["head"] != "linear",
        "ifa_dws_conv_groups": 0 if case["head"] == "ifa" else 2, "clc": case["cache"], "clc_include_gap": True,
        "clc_pool_cls": False, "clc_pool_clr": False, "clc_recover_at_last": True, "num_clr": int(case["cache"]),
        "dataset_name": "cotton", "train_trainval": True, "seed": 10, "lr": 5e-05, "batch_size": 32, "epochs": 45,
        "cooldown_epochs": 5, "custom_mean_std": False, "opt_betas": None, "serial": 30,
    }  # fmt: skip
    return {name: value for name, value in {**recorded, **changes}.items() if value != "left out"}


def first_release(case_id: str, **changes) -> dict:
    """`{model, optimizer, lr_scheduler, epoch, scaler, args, ema_best}`."""
    return {
        "model": weights(case_id),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(4)}}, "param_groups": []},
        "lr_scheduler": {"base_values": [5e-05], "t_in_epochs": True, "noise_range_t": None},
        "epoch": 49,
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 3},
        "args": argparse.Namespace(**settings(case_id, **changes)),
        "ema_best": False,
    }


def follow_up(case_id: str, **changes) -> dict:
    """`{config, model, accuracy, epoch}`, in the later program's names."""
    recorded = settings(case_id, **changes)
    recorded |= {"model_name": recorded.pop("model"), "image_size": recorded.pop("input_size")}
    return {"config": recorded, "model": weights(case_id), "accuracy": 61.25, "epoch": 50}


def saved(content: object, path: Path) -> Path:
    """`content` as torch saves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path
