"""Run folders as training leaves them, written without training."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

CONFIG = {
    "keep_rate": 0.5, "reduction_layers": [3, 6, 9], "image_size": 32, "batch_size": 4, "seed": 1, "protocol": "test",
    "fold": None, "folds": None, "keep": "weights", "data_root": "data", "output_root": "outputs",
    "dataset": {"name": "leaves", "epochs": 50, "pretrained": False, "_target_": "ufgir.data.ImageDataModule",
                "root": "/data/leaves", "format": "leaves", "images": "images", "resize": 36, "cache": "none"},
    "backbone": {"name": "vit_tiny_patch16_224", "pretrained": False, "checkpoint": None, "kwargs": {}},
    "reducer": {"name": "evit", "keep_rate": 0.5, "_target_": "ufgir.reducers.evit.EViT"},
    "plugins": {"name": "base", "cache": None, "head": {"name": "linear"}},
    "augment": {"train": [{"_target_": "torchvision.transforms.v2.RandomHorizontalFlip"}], "batch": None,
                "label_smoothing": 0.0},
    "optim": {"_target_": "timm.optim.create_optimizer_v2", "opt": "adamw", "lr": 1e-4, "weight_decay": 0.05},
    "schedule": None, "callbacks": {},
    "trainer": {"max_epochs": 50, "precision": "auto", "accelerator": "auto", "devices": 1,
                "limit_train_batches": 1.0, "limit_test_batches": 1.0},
    "logger": {},
}  # fmt: skip
CACHE = {"num_clr": 1, "gap": True, "recover_at_last": True, "pool_cls": False, "pool_clr": False}
PLUGINS = {
    "base": {"name": "base", "cache": None, "head": {"name": "linear"}},
    "cla": {"name": "cla", "cache": None, "head": {"name": "cla", "multiplier": 2}},
    "clca": {"name": "clca", "cache": CACHE, "head": {"name": "cla", "multiplier": 2}},
}
RESULTS = {
    "status": "finished", "overrides": [], "test_loss": 1.0, "test_images": 100, "num_classes": 7, "gmacs": 1.25,
    "params_m": 5.5, "tokens": [5], "train_minutes": 2.0, "images_per_second": 90.0, "peak_memory_gb": 1.5,
    "precision": "32-true", "device": "a device", "versions": {"torch": "2.9"}, "weights_sha256": "0" * 64,
}  # fmt: skip


def write_run(root: Path, name: str, top1: float | None = 50.0, **changes: Any) -> Path:
    """A run folder `root/name`.

    Args:
        top1: accuracy by the name that its protocol has; None: the run has no results.json.
        changes: of the configuration, or of results.json where it has the key; `__` is a dot. `plugins` is a name.
    """
    config, results = deepcopy(CONFIG), deepcopy(RESULTS)
    for key, value in changes.items():
        *parents, last = key.split("__")
        node = results if parents == [] and (last in results or last == "reason") else config
        for parent in parents:
            node = node[parent]
        node[last] = PLUGINS[value] if key == "plugins" else value
    protocol = config["protocol"]
    results |= {"protocol": protocol, "seed": config["seed"], "fold": config["fold"], "folds": config["folds"]}
    if protocol == "val":
        results = {key: value for key, value in results.items() if not key.startswith("test_")}
        results |= {"val_top1": top1, "val_images": 50}
    else:
        results["test_top1"] = top1
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    if top1 is not None:
        (folder / "results.json").write_text(json.dumps({**results, "config": config}))
    return folder


def write_messy(root: Path) -> Path:
    """Several protocols, debug runs, two learning rates, two sizes, and runs that failed, stopped or were damaged."""
    for seed in (1, 10, 100):
        for plugins, gain in (("base", 0.0), ("clca", 12.0)):
            for size in (32, 64):
                for reducer, rate in (("evit", 0.1), ("evit", 0.5), ("tome", 0.5), ("none", 1.0)):
                    if (seed, plugins, size, reducer, rate) == (100, "clca", 64, "evit", 0.1):
                        continue
                    top1 = 30 + gain + 20 * rate + size / 8 + seed / 50 + (reducer == "tome")
                    write_run(root, f"{reducer}-{rate}-{plugins}-{size}-s{seed}", top1, seed=seed, plugins=plugins,
                              image_size=size, keep_rate=rate, reducer__name=reducer,
                              gmacs=rate * size / 20 + gain / 100)  # fmt: skip
        write_run(root, f"rate-s{seed}", 61.0 + seed / 50, seed=seed, plugins="clca", optim__lr=5e-4)
    for lr, top1 in ((1e-4, 41.0), (5e-4, 47.5), (1e-5, 30.0)):
        for backbone in ("vit_tiny_patch16_224", "vit_small_patch16_224"):
            write_run(root, f"val-{backbone}-{lr}", top1, protocol="val", optim__lr=lr, backbone__name=backbone)
    for fold in range(3):
        images = (10, 20, 70)[fold]
        write_run(root, f"cv-{fold}", (10.0, 20.0, 30.0)[fold], protocol="cv", fold=fold, folds=3, test_images=images)
        if fold < 2:
            write_run(root, f"cv-clca-{fold}", 50.0, protocol="cv", fold=fold, folds=3, plugins="clca")
    write_run(root, "holdout", 48.0, protocol="holdout")
    write_run(root, "debug", 99.0, trainer__limit_train_batches=1, seed=7)
    write_run(root, "debug-val", 98.0, overrides=["debug=overfit"], protocol="val", seed=7)
    write_run(root, "failed", 0.0, status="failed", reason="CUDA out of memory\nmore", seed=100, plugins="clca",
              image_size=64, keep_rate=0.1)  # fmt: skip
    write_run(root, "stopped", None, seed=11, plugins="cla")
    (write_run(root, "cut", 50.0, seed=12) / "results.json").write_text('{"status": "fin')
    lacking = write_run(root, "lacking", 50.0, seed=13) / "results.json"
    lacking.write_text(json.dumps({k: v for k, v in json.loads(lacking.read_text()).items() if k != "test_top1"}))
    return root
