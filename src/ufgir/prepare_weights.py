"""Download pretrained weights ahead, for machines without a network.

    python -m ufgir.prepare weights sweep=NAME
    python -m ufgir.prepare weights backbone=NAME[,NAME...]

sweep     all weights that the runs of a grid start from: paper_224, paper_448, ...
backbone  names of conf/backbone such as deit_s, or timm names of plain ViTs

They are stored in the cache of huggingface_hub (HF_HOME or HF_HUB_CACHE moves it), where a run finds them; with
HF_HUB_OFFLINE=1 a run does not look for a network at all. Weights that are there already are not downloaded again.
Exit codes: 0 done, 1 some could not be downloaded, 2 a wrong argument, 3 some are only available from their authors.
"""

import sys
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from ufgir.cli import DONE, FAILED, SKIPPED, parse_options
from ufgir.errors import UserError


class Options(BaseModel):
    sweep: str | None = None
    backbone: str | None = None


def prepare_weights(arguments: Sequence[str]) -> int:
    """Download what is named and print what became of each."""
    options = parse_options(Options, arguments)
    if bool(options.sweep) == bool(options.backbone):
        raise UserError("expected sweep=NAME, such as sweep=paper_448, or backbone=NAME, such as backbone=deit_s.")
    backbones = of_sweep(options.sweep) if options.sweep else of_names(options.backbone.split(","))

    from huggingface_hub import constants

    from ufgir.models import pretrained

    states = set()
    for weights in pretrained.fetch_weights(backbones):
        states.add(weights.state)
        size = f"{weights.file.stat().st_size / 1e6:>9,.1f} MB" if weights.file else ""
        print(f"{weights.backbone:<30} {weights.state:<24}{size}".rstrip(), flush=True)
        if weights.reason:
            print(weights.reason, file=sys.stderr, flush=True)
    if not states:
        print("nothing to download: these runs start from random weights")
    print(f"cache: {constants.HF_HUB_CACHE}")
    return FAILED if pretrained.FAILED in states else SKIPPED if pretrained.OFFICIAL in states else DONE


def of_sweep(name: str) -> list[dict[str, Any]]:
    """The group `backbone` of the runs of a grid."""
    from ufgir.config.compose import compose
    from ufgir.sweep.grid import jobs_of

    deciding = ("dataset", "backbone", "experiment", "+experiment")  # overrides that can change this group
    jobs = dict.fromkeys(tuple(o for o in job if o.startswith(deciding)) for job in jobs_of([f"sweep={name}"]))
    return [compose(job)["backbone"] for job in jobs]


def of_names(names: Sequence[str]) -> list[dict[str, Any]]:
    """The same for backbones by our name or timm's.

    Raises:
        UserError: names that are not those of a plain ViT.
    """
    from ufgir.models.backbones import describe, named_backbones

    errors = []
    for name in names:
        try:
            describe(name)
        except UserError as error:
            errors += error.messages
    if errors:
        raise UserError(*errors)
    known = [named_backbones().get(name, (name, {})) for name in names]
    return [{"name": name, "pretrained": True, "checkpoint": None, "kwargs": dict(kwargs)} for name, kwargs in known]
