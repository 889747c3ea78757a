"""Which run it is: a readable name and a hash of everything that can change its numbers."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ufgir.config.parts import file_digest, source_digest, targets
from ufgir.config.schema import RunConfig, rate_text
from ufgir.utils import expand_path

WITHOUT_EFFECT = (
    "data_root", "output_root", "keep", "logger",
    "dataset.name", "dataset.epochs", "dataset.pretrained", "dataset.root", "dataset.images", "dataset.expected",
    "dataset.cache", "dataset.num_workers", "dataset.val_fraction", "dataset.test_fraction", "dataset.progress",
    "dataset.groups",
    "backbone.checkpoint", "reducer.name", "reducer.keep_rate", "plugins.name", "augment.name",
    "trainer.accelerator", "trainer.log_every_n_steps", "trainer.profiler", "trainer.progress",
    "trainer.gradient_checkpointing",
)  # fmt: skip  # settings that change no number, or that are hashed by what they stand for: tables, weights, keep_rate
RECIPE = ("dataset.name", "dataset.epochs", "dataset.pretrained")
OBSERVERS = ("ufgir.inference.token_maps.TokenPictures", "ufgir.training.callbacks.Throughput")  # change no number
PAPER_LAYERS = [3, 6, 9]
PLUGINS = {
    "base": ("linear", False), "cla": ("cla", False), "clc": ("linear", True), "clca": ("cla", True),
    "ifa": ("ifa", False), "clc-ifa": ("ifa", True),
}  # fmt: skip  # what a run with them is called -> head, and whether there is a cache


def run_name(config: RunConfig, tables_digest: str) -> str:
    """The name of a run's folder: `leaves-deit_s-evit-0.1-clca-224-s1-<hash>`.

    Args:
        config: of the run.
        tables_digest: of the split tables that are trained and tested on.
    """
    return f"{slug(config)}-{run_hash(config, tables_digest)}"


def slug(config: RunConfig) -> str:
    """Readable name of a run, safe as a file name."""
    values = axes(config)
    layers = config.reduction_layers
    parts = [
        _safe(values["dataset"]),
        _safe(values["backbone"]),
        _safe(values["reducer"]),
        rate_text(config.keep_rate, "_"),
        "" if layers == PAPER_LAYERS else f"at_{rate_text(layers, '_')}",
        _safe(values["plugins"]),
        str(config.image_size),
        "" if config.protocol == "test" else config.protocol,
        "" if config.fold is None else f"fold{config.fold}of{config.folds}",
        f"s{config.seed}",
    ]
    return "-".join(filter(None, parts))[:200]


def axes(config: RunConfig) -> dict[str, Any]:
    """What runs are compared by, each as the word or number that was typed."""
    from ufgir.models.backbones import backbone_label

    rate = config.keep_rate
    values = {
        "dataset": config.dataset.name,
        "backbone": backbone_label(config.backbone.name, config.backbone.kwargs),
        "reducer": config.reducer.name,
        "keep_rate": rate_text(rate, "_") if isinstance(rate, list) else rate,
        "plugins": plugins_label(config),
        "image_size": config.image_size,
        "lr": config.optim.get("lr"),
        "seed": config.seed,
        "protocol": config.protocol,
    }
    return values if config.fold is None else {**values, "fold": config.fold, "folds": config.folds}


def plugins_label(config: RunConfig) -> str:
    """The plug-ins in force, whatever file they were set from: base, cla, clc, clca, ifa, clc-ifa or clc-HEAD."""
    head = config.plugins.head
    name = head.get("name") or str(head.get("_target_", "")).rpartition(".")[2]
    cached = config.plugins.cache is not None
    known = {parts: label for label, parts in PLUGINS.items()}
    return known.get((name, cached), f"clc-{name}" if cached else name)


def cell(config: RunConfig) -> str:
    """Name of what the seeds and folds of a run have in common, to average over: the slug without them, six digits."""
    dataset = config.dataset
    root = Path(str(dataset.arguments().get("root") or "")).name if dataset.name in ("csv", "folder") else ""
    fields = {**_hashed(config), "seed": None, "fold": None, "tables": f"{dataset.name}/{root}"}
    common = slug(config).removesuffix(f"-s{config.seed}")
    common = common if config.fold is None else common.removesuffix(f"-fold{config.fold}of{config.folds}")
    return f"{common[:100]}-{_digest(fields)[:6]}"


def run_hash(config: RunConfig, tables_digest: str) -> str:
    """Ten hexadecimal digits that change with anything that can change the numbers of a run.

    Every setting enters but those listed above, so that a new one cannot be forgotten. Paths enter by the contents of
    their files, users' own classes by their source. What was asked for is hashed, not what it becomes on a machine.
    """
    return _digest({**_hashed(config), "tables": tables_digest})[:10]


def _hashed(config: RunConfig) -> dict[str, Any]:
    values = config.model_dump(by_alias=True)
    values["callbacks"] = {
        name: part for name, part in values["callbacks"].items() if part.get("_target_") not in OBSERVERS
    }
    ours = config.dataset.is_ours  # whose data are hashed by the contents of their tables
    for key in WITHOUT_EFFECT:
        if key.startswith("dataset.") and not ours and key not in RECIPE:
            continue
        *parents, name = key.split(".")
        node = values
        for parent in parents:
            node = node[parent]
        node.pop(name, None)
    for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches"):  # 1 is a batch, 1.0 is all of them
        if name in values["trainer"]:
            values["trainer"][name] = repr(values["trainer"][name])
    if isinstance(config.trainer.devices, list):  # which ones they are changes no number
        values["trainer"]["devices"] = len(config.trainer.devices)
    checkpoint = config.backbone.checkpoint
    if checkpoint is not None:
        values["backbone"]["pretrained"] = False  # the weights of the file are used instead
        values["checkpoint"] = file_digest(str(expand_path("backbone.checkpoint", checkpoint)))
    sources = {target: source_digest(target) for target in targets(values)}
    return {**values, "sources": {target: digest for target, digest in sources.items() if digest}}


def _digest(values: Mapping[str, Any]) -> str:
    same = json.loads(json.dumps(values), parse_int=float)  # 1 and 1.0 are the same setting
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()


def _safe(text: str) -> str:
    """At most 64 characters that every file system takes."""
    return re.sub(r"[^A-Za-z0-9._]+", "_", str(text)).lstrip(".")[:64]
