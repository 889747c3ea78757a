"""Fetch pretrained weights ahead, for machines without a network.

    python -m ufgir.prepare weights backbone=NAME[,NAME...]
    python -m ufgir.prepare weights backbone.name=TIMM_NAME[,TIMM_NAME...]

backbone       backbones by the names in conf/backbone: deit_s, vit_b_mae, ...
backbone.name  plain ViTs by timm's names

They go into the usual cache of huggingface_hub, which HF_HOME or HF_HUB_CACHE moves, and a run takes them from there;
with HF_HUB_OFFLINE=1 it does not even look for a network. What is there already is not fetched again.
Exit codes: 0 done, 1 some could not be had, 2 your mistake, 3 done but for what needs a file of its authors.
"""

import sys
from collections.abc import Sequence
from typing import Any

from ufgir.cli import DONE, FAILED, SKIPPED, parse_words
from ufgir.config import compose_run, resolve
from ufgir.errors import UserError
from ufgir.grids.grid import jobs_told, label
from ufgir.models import hub
from ufgir.models.backbones import describe

WORDS = ("backbone", "backbone.name", "sweep")


def prepare_weights(arguments: Sequence[str]) -> int:
    """Fetch what the words name and say what became of each.

    Returns:
        the exit code: 0 all there, 1 some could not be had, 3 some need a file of their authors.

    Raises:
        UserError: all faults of the words.
    """
    states = []
    for weights in hub.weights_of(backbones_of(arguments)):
        states.append(weights.state)
        size = f"{weights.megabytes:>9,.1f} MB" if weights.file else ""
        print(f"{weights.backbone:<30} {weights.state:<24}{size}".rstrip(), flush=True)
        if weights.reason:
            print(weights.reason, file=sys.stderr, flush=True)
    print(f"cache: {hub.cache_folder()}")
    if hub.FAILED in states:
        return FAILED
    return SKIPPED if hub.OFFICIAL in states else DONE


def backbones_of(arguments: Sequence[str]) -> list[dict[str, Any]]:
    """The `backbone` groups of the configurations that the words name.

    Raises:
        UserError: all faults of the words, in which no backbone is named included.
    """
    words, faults = parse_words(arguments, WORDS)
    if not words and not faults:
        faults.append("name what to fetch: sweep=paper_448, backbone=deit_s,deit_b, or backbone.name=TIMM_NAME.")
    backbones = []
    for name in _of_grid(words["sweep"]) if "sweep" in words else ():
        backbone, found = _chosen(name)
        faults += found
        backbones.append(backbone)
    for word in ("backbone", "backbone.name"):
        for name in words[word].split(",") if word in words else ():
            backbone, found = _chosen(name) if word == "backbone" else _of_timm(name)
            faults += found
            backbones.append(backbone)
    if faults:
        raise UserError(*faults)
    return backbones


def _of_grid(name: str) -> list[str]:
    """Our names of the backbones of a grid."""
    return list(dict.fromkeys(label(job, "backbone") or "deit_s" for job in jobs_told([f"sweep={name}"])))


def _chosen(name: str) -> tuple[dict[str, Any], list[str]]:
    """A choice from conf/backbone, and the faults of its name."""
    config, faults = compose_run([f"backbone={name}", "backbone.pretrained=false"])  # whether there are any: see `hub`
    return {} if faults else {**resolve(config)["backbone"], "pretrained": True}, faults


def _of_timm(name: str) -> tuple[dict[str, Any], list[str]]:
    """A model of timm, and what speaks against it."""
    try:
        describe(name)
    except UserError as error:
        return {}, error.faults
    return {"name": name, "pretrained": True, "checkpoint": None, "kwargs": {}}, []
