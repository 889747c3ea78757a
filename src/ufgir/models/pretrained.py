"""Pretrained weights fetched ahead, into the caches where a run without a network finds them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse

import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache

from ufgir.errors import summarize
from ufgir.models.backbones import backbone_label, has_other_sizes, official_file

CACHED, FETCHED, LOCAL = "cached", "fetched", "local file"
NO_WEIGHTS, OFFICIAL, FAILED = "no weights exist", "needs an official file", "failed"
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # what timm takes from a repository of the hub, best first


class FetchedWeights(NamedTuple):
    """The weights of one backbone."""

    backbone: str  # its label
    state: str  # `CACHED`, `FETCHED` or `LOCAL` where they are available, else `NO_WEIGHTS`, `OFFICIAL` or `FAILED`
    file: Path | None = None  # where they are
    reason: str = ""  # why they are not available and what to do


def fetch_weights(backbones: Iterable[Mapping]) -> Iterator[FetchedWeights]:
    """Fetch the weights of backbones into the cache, each once; what is there already needs no network.

    Args:
        backbones: mappings of `name`, `pretrained`, `checkpoint`, `kwargs`; random starts are skipped.

    Yields:
        The result of each as soon as it is known; failures are reported, not raised.
    """
    seen = []
    for backbone in backbones:
        wanted = (backbone["name"], dict(backbone["kwargs"]), backbone["checkpoint"])
        if wanted not in seen and (backbone["pretrained"] or backbone["checkpoint"]):
            seen.append(wanted)
            yield _fetch(*wanted)


def _fetch(name: str, kwargs: dict, checkpoint: str | None) -> FetchedWeights:
    label = backbone_label(name, kwargs)
    if checkpoint is not None:
        file = Path(checkpoint).expanduser()
        missing = f"{label}: there is no file {file.absolute()}."
        return FetchedWeights(label, LOCAL, file) if file.is_file() else FetchedWeights(label, FAILED, reason=missing)
    if advice := official_file(name, kwargs):
        return FetchedWeights(label, OFFICIAL, reason=advice)
    source = timm.models.get_pretrained_cfg(name)
    if source is None or not source.has_weights or has_other_sizes(name, kwargs):
        return FetchedWeights(label, NO_WEIGHTS)
    if file := cached_file(name):
        return FetchedWeights(label, CACHED, file)
    try:
        # Building the model takes seconds, and then exactly what a run needs is there, and is known to load.
        timm.create_model(name, pretrained=True, **kwargs)
    except Exception as error:  # timm and the hub raise dozens of kinds here
        offline = " HF_HUB_OFFLINE is set: nothing is fetched." if constants.HF_HUB_OFFLINE else ""
        return FetchedWeights(label, FAILED, reason=f"{label}: {summarize(error)}.{offline}")
    return FetchedWeights(label, FETCHED, cached_file(name))


def cached_file(name: str) -> Path | None:
    """Where the weights of a timm model are on this machine, or None if they would have to be fetched."""
    source = timm.models.get_pretrained_cfg(name)
    if not source.hf_hub_id:
        file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(source.url).path).name)
        return file if file.is_file() else None
    repository, _, revision = source.hf_hub_id.partition("@")
    found = (try_to_load_from_cache(repository, file, revision=revision or None) for file in HUB_FILES)
    return next((Path(file) for file in found if isinstance(file, str)), None)
