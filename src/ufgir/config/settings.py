"""From a composed config to the settings of a run, with nothing left to be chosen, and to its file and back."""

from copy import deepcopy
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from ufgir.config.machine import uses_cuda
from ufgir.config.rules import RULES
from ufgir.files import written_whole


def resolve(config: DictConfig | dict) -> dict:
    """The settings of a run as plain Python.

    What a null or `auto` stands for is filled in, so that two configs that mean the same settings become equal:
    `keep_rate` (a number, or a list of different numbers), `dataset.resize` (pixels), `optim.warmup_epochs`,
    `optim.cooldown_epochs` and `trainer.precision` (one of Lightning's, by the devices of this machine).

    Args:
        config: composed and without faults.
    """
    config = _canonical(as_plain(config))
    dataset, optim, trainer = config["dataset"], config["optim"], config["trainer"]
    config["keep_rate"] = keep_rate_of(config)
    if dataset["resize"] is None:
        dataset["resize"] = default_resize(config["image_size"])
    epochs = schedule_epochs(trainer["max_epochs"], optim["warmup_epochs"], optim["cooldown_epochs"])
    optim["warmup_epochs"], optim["cooldown_epochs"] = epochs
    if config["plugins"]["head"]["name"] != "cla":
        config["plugins"]["head"].pop("multiplier", None)  # left over from the choice that was overridden
    if trainer["precision"] == "auto":
        trainer["precision"] = "16-mixed" if uses_cuda(trainer["accelerator"]) else "32-true"
    return config


def as_plain(config: DictConfig | dict) -> dict:
    """A copy of a config as plain Python, its interpolations resolved."""
    return OmegaConf.to_container(config, resolve=True) if isinstance(config, DictConfig) else deepcopy(config)


def keep_rate_of(config: dict) -> float | list[float]:
    """The keep rate in force: the top-level one or, while that is null, the reducer's own; equal rates as one."""
    rate = config["reducer"]["keep_rate"] if config["keep_rate"] is None else config["keep_rate"]
    return rate[0] if isinstance(rate, list) and len(set(rate)) == 1 else rate


def default_resize(image_size: int) -> int:
    """Side to which images are resized before a crop of `image_size` pixels, as in the paper."""
    return int(image_size / 0.875)


def schedule_epochs(epochs: int, warmup: int | None = None, cooldown: int | None = None) -> tuple[int, int]:
    """Epochs of warm-up and of cool-down in a run of `epochs`; null stands for what suits its length."""
    cooldown = min(5, epochs // 10) if cooldown is None else cooldown
    warmup = max(0, min(2, epochs - cooldown - 1)) if warmup is None else warmup
    return warmup, cooldown


def save_config(config: dict, path: Path) -> None:
    """Write the settings of a run as YAML, whole or not at all."""
    with written_whole(path) as stream:
        yaml.safe_dump(config, stream, sort_keys=False, allow_unicode=True)


def _canonical(node: dict, prefix: str = "") -> dict:
    """Each value in the one form that its rule has for it."""
    values = {}
    for name, value in node.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            values[name] = _canonical(value, f"{key}.")
        else:
            values[name] = RULES[key].kind.canonical(value) if key in RULES else value
    return values
