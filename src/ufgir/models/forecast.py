"""What a model will cost, from its configuration alone: nothing is built and no image goes through it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ufgir.models.backbones import BackboneFacts, facts_of
from ufgir.models.options import cache_options, stage_keep_rates
from ufgir.reducers import Reducer, find_reducer
from ufgir.tokens import Stage

MLP_RATIO = 4


@dataclass(frozen=True)
class Forecast:
    """What is known beforehand.

    Attributes:
        macs: multiply-accumulates of one image, without those of normalisation and of the reducers themselves.
        parameters: without those of the cache and of the reducers themselves.
        tokens: that leave each block, class token and registers included; for ATS at most.
    """

    macs: int
    parameters: int
    tokens: tuple[int, ...]


def forecast(config: Mapping[str, Any], num_classes: int) -> Forecast:
    """Forecast the model of a resolved configuration."""
    facts = facts_of(config["backbone"])
    size, (height, width), dim = config["image_size"], facts.patch, facts.embed_dim
    patches = (size // height) * (size // width)
    reducers = _reducers(config, patches, dim)
    blocks = _tokens(facts, patches, reducers, config)
    macs = patches * 3 * height * width * dim
    for attended, queries, leaving in blocks:
        macs += dim * (3 * attended * dim + 2 * attended * queries + queries * dim + 2 * MLP_RATIO * leaving * dim)
    groups = len({*config["reduction_layers"], facts.depth - 1})
    head = config["plugins"]["head"]
    wide = head.get("multiplier", 1) * dim if head["name"] == "cla" else dim
    classifier = wide * (groups if head["name"] == "cla" else 0) + wide * num_classes
    return Forecast(macs + classifier, facts.parameters + classifier, tuple(leaving for *_, leaving in blocks))


def _tokens(
    facts: BackboneFacts, patches: int, reducers: Mapping[int, Reducer], config: Mapping[str, Any]
) -> list[tuple[int, int, int]]:
    """Tokens of each block: attended to, attending, leaving; as the cache and the reducers would have it."""
    cache_is = cache_options(config["plugins"]["cache"])
    appended = cache_is["num_clr"] if cache_is else 0
    body, cached, blocks = patches + appended, 0, []
    recovery = {*config["reduction_layers"], *([facts.depth - 2] if cache_is and cache_is["recover_at_last"] else [])}
    for layer in range(facts.depth):
        attended = queries = leaving = body
        if reducer := reducers.get(layer):
            spared = appended if reducer.spares_appended else 0
            leaving = reducer.keeps(body - spared) + spared
            attended = leaving if reducer.place == "before_block" else body
            queries = body if reducer.place == "after_attention" else leaving
        blocks.append(tuple(facts.prefix + count for count in (attended, queries, leaving)))
        body = leaving
        if cache_is and layer in recovery:
            body, appended, cached = body + cached, appended + cached, 0
        if cache_is and layer < max(recovery):
            cached += cache_is["gap"] + cache_is["num_clr"]
    return blocks


def _reducers(config: Mapping[str, Any], patches: int, dim: int) -> dict[int, Reducer]:
    if config["reducer"]["name"] == "none":
        return {}
    options = {name: value for name, value in config["reducer"].items() if name not in ("name", "keep_rate")}
    kind, layers = find_reducer(config["reducer"]["name"]), config["reduction_layers"]
    rates = stage_keep_rates(config["keep_rate"], len(layers))
    cached = bool(config["plugins"]["cache"])
    with torch.device("meta"):
        return {
            layer: kind(Stage(s, rates, patches, dim, cached), **options)
            for s, layer in enumerate(layers)
            if rates[s] < 1
        }
