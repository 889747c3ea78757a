"""Pretrained weights fetched ahead, into the caches where a run without a network finds them."""

import gc
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache

from ufgir.models.backbones import config_name, has_other_sizes, official_file
from ufgir.models.weights import reason_of

CACHED, FETCHED, LOCAL = "cached already", "fetched", "local file"
NONE, OFFICIAL, FAILED = "no weights exist", "needs an official file", "could not be had"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # what timm takes from a repository of the hub, best first


@dataclass(frozen=True)
class Weights:
    """What became of the weights of one backbone.

    Attributes:
        backbone: our name of it if it has one, else timm's.
        state: `CACHED`, `FETCHED` or `LOCAL` where they are there now, else `NONE`, `OFFICIAL` or `FAILED`.
        file: where they lie; None where they do not.
        reason: why they are not there, and what to do; empty where they are, or where there is nothing to have.
    """

    backbone: str
    state: str
    file: Path | None = None
    reason: str = ""

    @property
    def megabytes(self) -> float | None:
        """Size of the file in 10^6 bytes."""
        return self.file.stat().st_size / 1e6 if self.file else None


def weights_of(backbones: Iterable[Mapping]) -> Iterator[Weights]:
    """Have the weights of backbones in the cache, each once; what lies there already needs no network.

    Args:
        backbones: `backbone` groups of resolved configurations: `name`, `pretrained`, `checkpoint`, `kwargs`. Those
            that start from random weights are passed over.

    Yields:
        what became of each, as soon as that is known. What cannot be had is told, not raised.
    """
    seen = []
    for backbone in backbones:
        wanted = {key: backbone[key] for key in ("name", "checkpoint", "kwargs")}
        if wanted not in seen and (backbone["pretrained"] or backbone["checkpoint"]):
            seen.append(wanted)
            yield _have(backbone["name"], dict(backbone["kwargs"]), backbone["checkpoint"])


def _have(name: str, kwargs: dict, checkpoint: str | None) -> Weights:
    ours = config_name(name, kwargs)
    if checkpoint is not None:
        file = Path(checkpoint).expanduser()
        missing = f"{ours}: there is no file {file.absolute()}."
        return Weights(ours, LOCAL, file) if file.is_file() else Weights(ours, FAILED, reason=missing)
    if advice := official_file(name, kwargs):
        return Weights(ours, OFFICIAL, reason=advice)
    source = timm.models.get_pretrained_cfg(name)
    if source is None or not source.has_weights or has_other_sizes(name, kwargs):
        return Weights(ours, NONE)
    if file := cached_file(name):
        return Weights(ours, CACHED, file)
    try:
        # Building the model takes seconds, and then exactly what a run needs is there, and is known to load.
        timm.create_model(name, pretrained=True, **kwargs)
    except Exception as error:  # timm and the hub raise dozens of kinds here
        offline = " HF_HUB_OFFLINE is set: nothing is fetched." if constants.HF_HUB_OFFLINE else ""
        return Weights(ours, FAILED, reason=f"{ours}: {reason_of(error)}.{offline}")
    finally:
        gc.collect()  # of up to a gigabyte each
    return Weights(ours, FETCHED, cached_file(name))


def cached_file(name: str) -> Path | None:
    """Where the weights of a timm model lie on this machine, or None if they would have to be fetched."""
    source = timm.models.get_pretrained_cfg(name)
    if not source.hf_hub_id:
        file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(source.url).path).name)
        return file if file.is_file() else None
    repository, _, revision = source.hf_hub_id.partition("@")
    found = (try_to_load_from_cache(repository, file, revision=revision or None) for file in HUB_FILES)
    return next((Path(file) for file in found if isinstance(file, str)), None)


def cache_folder() -> Path:
    """The hub's cache: that of `HF_HUB_CACHE`, else `hub` below `HF_HOME`."""
    return Path(constants.HF_HUB_CACHE)
