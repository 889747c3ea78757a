"""Fetch pretrained weights ahead, for machines without a network.

    python -m ufgir.prepare weights sweep=NAME
    python -m ufgir.prepare weights backbone=NAME[,NAME...]
    python -m ufgir.prepare weights backbone.name=TIMM_NAME[,TIMM_NAME...]

sweep          what all runs of a grid in sweeps/sweep start from: paper_224, paper_448, ...
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
from ufgir.grids.grid import jobs_told
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
    if not states:
        print("there is nothing to fetch: all of these runs start from random weights")
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
    found = _of_grid(words["sweep"]) if "sweep" in words else []
    found += [_wanted([f"backbone={name}"]) for name in words["backbone"].split(",")] if "backbone" in words else []
    found += [_of_timm(name) for name in words["backbone.name"].split(",")] if "backbone.name" in words else []
    faults += dict.fromkeys(fault for _, told in found for fault in told)
    if faults:
        raise UserError(*faults)
    return [backbone for backbone, _ in found]


def _of_grid(name: str) -> list[tuple[dict[str, Any], list[str]]]:
    """The backbone of each run of a grid, whether a word, a file or a default chooses it, and the faults of the run."""
    jobs = ([word for word in job if not word.startswith("seed=")] for job in jobs_told([f"sweep={name}"]))
    return [_composed(job) for job in dict.fromkeys(map(tuple, jobs))]


def _composed(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The backbone of a run, and its faults but for weights that are not to be had."""
    config, faults = compose_run(words)
    return _wanted(words) if faults else (resolve(config)["backbone"], [])


def _wanted(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The backbone of a run that wants weights, and its faults; whether there are any is left to `hub`."""
    config, faults = compose_run([*words, "backbone.pretrained=false"])
    return {} if faults else {**resolve(config)["backbone"], "pretrained": True}, faults


def _of_timm(name: str) -> tuple[dict[str, Any], list[str]]:
    """A model of timm, and what speaks against it."""
    try:
        describe(name)
    except UserError as error:
        return {}, error.faults
    return {"name": name, "pretrained": True, "checkpoint": None, "kwargs": {}}, []
