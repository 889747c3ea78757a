"""Run folders as training leaves them, written without training."""

import json
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from ufgir.config import RunConfig
from ufgir.config.compose import compose

KINDS = (("evit", 0.1), ("evit", 0.5), ("tome", 0.5), ("none", 1.0))
BACKBONES = ("vit_tiny_patch16_224", "vit_small_patch16_224")
RESULTS = {
    "status": "finished", "overrides": [], "test_loss": 1.0, "test_images": 100, "num_classes": 7, "gmacs": 1.25,
    "params_m": 5.5, "tokens": [5], "train_minutes": 2.0, "images_per_second": 90.0, "peak_memory_gb": 1.5,
    "precision": "32-true", "device": "a device", "versions": {"torch": "2.9"}, "weights_sha256": "0" * 64,
}  # fmt: skip


@cache
def config_of(plugins: str) -> str:
    """The configuration of EViT 0.5 with these plug-ins on leaves, as JSON."""
    overrides = ["dataset=leaves", "backbone=deit_t", "reducer=evit", "keep_rate=0.5", "image_size=32"]
    config = RunConfig.load(compose([*overrides, f"plugins={plugins}"]), check=False).model_dump(by_alias=True)
    config["backbone"]["name"] = BACKBONES[0]
    return json.dumps(config)


def write_run(root: Path, name: str, top1: float | None = 50.0, plugins: str = "base", **changes: Any) -> Path:
    """A run folder `root/name`.

    Args:
        top1: accuracy by the name that its protocol has; None: the run has no results.json.
        plugins: base, cla or clca.
        changes: of the configuration, or of results.json where it has the key; `__` is a dot.
    """
    config, results = json.loads(config_of(plugins)), dict(RESULTS)
    for key, value in changes.items():
        *parents, last = key.split("__")
        node = results if key in {*results, "reason"} else config
        for parent in parents:
            node = node[parent]
        node[last] = value
    results |= {key: config[key] for key in ("protocol", "seed", "fold", "folds")}
    if config["protocol"] == "val":
        results |= {"val_top1": top1, "val_images": 50, "test_images": None}
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
            for size, (reducer, rate) in product((32, 64), KINDS):
                name, gmacs = f"{reducer}-{rate}-{plugins}-{size}-s{seed}", rate * size / 20 + gain / 100
                top1 = 30 + gain + 20 * rate + size / 8 + seed / 50 + (reducer == "tome")
                if name != "evit-0.1-clca-64-s100":  # which failed
                    own = dict(seed=seed, image_size=size, keep_rate=rate, reducer__name=reducer, gmacs=gmacs)
                    write_run(root, name, top1, plugins, **own)
        write_run(root, f"rate-s{seed}", 61.0 + seed / 50, seed=seed, plugins="clca", optim__lr=5e-4)
    for lr, top1 in ((1e-4, 41.0), (5e-4, 47.5), (1e-5, 30.0)):
        for backbone in BACKBONES:
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
