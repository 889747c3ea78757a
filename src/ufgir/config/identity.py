"""Which run it is: a readable slug and a hash of everything that can change its numbers."""

import hashlib
import json
import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pandas as pd

from ufgir.models.backbones import config_name

WITHOUT_EFFECT = (
    "data_root", "output_root", "keep", "logger", "callbacks",
    "dataset.root", "dataset.images", "dataset.cache", "dataset.num_workers",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy",
    "trainer.log_every_n_steps", "trainer.profiler", "trainer.progress",
    "trainer.gradient_checkpointing",
)  # fmt: skip  # settings that do not change the numbers
TOLD_ELSEWHERE = (
    "dataset.epochs", "dataset.pretrained",  # by trainer.max_epochs and backbone.pretrained
    "dataset.expected", "dataset.val_fraction", "dataset.test_fraction",  # by the tables
    "backbone.checkpoint",  # by its content
    "reducer.keep_rate",  # by keep_rate
    "plugins.name", "augment.name",  # by their settings
)  # fmt: skip
NAMELESS = ("csv", "folder")  # data sets of the user's own
PAPER_LAYERS = [3, 6, 9]


def slug(config: dict) -> str:
    """Readable name of a run, safe as a file name: `leaves-deit_s-evit-0.1-clca-224-s1`.

    Args:
        config: resolved settings.
    """
    layers = config["reduction_layers"]
    parts = [
        _safe(config["dataset"]["name"]),
        _safe(config_name(config["backbone"]["name"], config["backbone"]["kwargs"])),
        config["reducer"]["name"],
        _joined(config["keep_rate"]),
        "" if layers == PAPER_LAYERS else f"at_{_joined(layers)}",
        _plugins_word(config["plugins"]),
        str(config["image_size"]),
        "" if config["protocol"] == "test" else config["protocol"],
        f"s{config['seed']}",
    ]
    return "-".join(filter(None, parts))[:200]


def axes(config: dict) -> dict[str, Any]:
    """What runs are compared by, each as the plain word or number that was typed.

    Args:
        config: resolved settings.
    """
    return {
        "dataset": config["dataset"]["name"],
        "backbone": config_name(config["backbone"]["name"], config["backbone"]["kwargs"]),
        "reducer": config["reducer"]["name"],
        "keep_rate": _joined(rate) if isinstance(rate := config["keep_rate"], list) else rate,
        "plugins": _plugins_word(config["plugins"]),
        "image_size": config["image_size"],
        "lr": config["optim"]["lr"],
        "seed": config["seed"],
        "protocol": config["protocol"],
    }


def cell(config: dict) -> str:
    """Name of what the seeds of a run have in common, to average over: the slug and six digits, both without the seed.

    Runs of one cell on machines that keep their data in different places have the same name; data and weights that
    have no name but that of their folder or file go by it.

    Args:
        config: resolved settings.
    """
    dataset, checkpoint = config["dataset"], config["backbone"]["checkpoint"]
    data = Path(dataset["root"]).name if dataset["name"] in NAMELESS else ""
    digits = run_hash({**config, "seed": None}, data, Path(checkpoint).name if checkpoint else None)[:6]
    seed = f"-s{config['seed']}"
    return f"{slug(config).removesuffix(seed)[:100]}-{digits}"


def run_hash(
    config: dict, tables_digest: str, checkpoint_digest: str | None = None, code_digest: str | None = None
) -> str:
    """Ten hexadecimal digits that change with anything that can change the numbers of a run.

    Every setting enters but those listed above, so that a new one cannot be forgotten.

    Args:
        config: resolved settings.
        tables_digest: of the split tables, see `tables_digest`.
        checkpoint_digest: of the content of `backbone.checkpoint`, see `file_digest`; None without one.
        code_digest: of the file of a reducer that is not this package's; None for one that is.
    """
    telling = deepcopy(config)
    for key in (*WITHOUT_EFFECT, *TOLD_ELSEWHERE):
        *parents, name = key.split(".")
        node = telling
        for parent in parents:
            node = node[parent]
        node.pop(name, None)
    if telling["dataset"].get("train_images") is None:
        telling["dataset"].pop("train_images", None)  # younger than the first finished runs, which keep their hashes
    if checkpoint_digest is not None:
        telling["backbone"]["pretrained"] = False  # the file's weights come instead
    everything = {"config": telling, "tables": tables_digest, "checkpoint": checkpoint_digest}
    if code_digest is not None:
        everything["code"] = code_digest
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:10]


def tables_digest(tables: Mapping[str, pd.DataFrame]) -> str:
    """64 hexadecimal digits for the contents of split tables: class ids and paths in their order, nothing else.

    Args:
        tables: split name -> frame with the columns `class_id` and `dir`.
    """
    digest = hashlib.sha256()
    for split in sorted(tables):
        rows = zip(tables[split]["class_id"], tables[split]["dir"], strict=True)
        digest.update(json.dumps([split, [[int(class_id), path] for class_id, path in rows]]).encode())
    return digest.hexdigest()


def file_digest(path: str | Path) -> str:
    """64 hexadecimal digits for the content of a file."""
    with Path(path).expanduser().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _joined(numbers: float | list) -> str:
    return "_".join(f"{number:g}" for number in (numbers if isinstance(numbers, list) else [numbers]))


def _safe(text: str) -> str:
    """At most 64 characters that every file system takes."""
    return re.sub(r"[^A-Za-z0-9._]+", "_", text).lstrip(".")[:64]


def _plugins_word(plugins: dict) -> str:
    """The word of the two plug-ins in force, whichever choice they were set from."""
    cached, head = bool(plugins["cache"]), plugins["head"]["name"]
    if head == "cla":
        return "clca" if cached else "cla"
    return "-".join(filter(None, ["clc" if cached else "", "ifa" if head == "ifa" else ""])) or "base"
