"""Turn the raw Ultra-FGVC release into split CSVs; with `weights`, download pretrained weights ahead.

    python -m ufgir.prepare raw=DIR out=DIR [dataset=NAME] [copy=true]
    python -m ufgir.prepare weights sweep=NAME
    python -m ufgir.prepare weights backbone=NAME[,NAME...]

raw       the unpacked release, or the folder of one of its sets
out       where <out>/<set>/{train,val,train_val,test}.csv and <out>/<set>/images are made
dataset   only this set: cotton80, soylocal, soygene, soyageing or soyglobal (default: all that are found)
copy      copy the images; by default <out>/<set>/images links to them
sweep     all weights that the runs of a grid start from: paper_224, paper_448, ...
backbone  names of conf/backbone such as deit_s, or timm names of plain ViTs

Weights are stored in the cache of huggingface_hub (HF_HOME or HF_HUB_CACHE moves it), where a run finds them; with
HF_HUB_OFFLINE=1 a run does not look for a network at all. Weights that are there already are not downloaded again.
Exit codes: 0 done, 1 some could not be downloaded, 2 a wrong argument, 3 some are only available from their authors.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field

from ufgir.cli import DONE, FAILED, SKIPPED, parse_options, run_command
from ufgir.errors import UserError
from ufgir.utils import expand_path, project_dir


class ReleaseOptions(BaseModel):
    raw: Path
    out: Path
    dataset: Literal["cotton80", "soylocal", "soygene", "soyageing", "soyglobal"] | None = None
    copied: bool = Field(False, alias="copy")  # pydantic's models have a method `copy`


class WeightsOptions(BaseModel):
    sweep: str | None = None
    backbone: str | None = None


def main(arguments: Sequence[str]) -> int:
    """Prepare the release, or weights, and print what there is now."""
    if arguments[:1] == ["weights"]:
        return fetch_weights(arguments[1:])
    from ufgir.data.ultra_fgvc import prepare_release

    options = parse_options(ReleaseOptions, arguments)
    raw, out = expand_path("raw", options.raw), expand_path("out", options.out)
    found = prepare_release(raw, out, options.dataset, options.copied)
    print(f"{'set':<10}" + "".join(f"{key:>10}" for key in next(iter(found.values()))) + "  as in the paper")
    following = []
    for name, counts in found.items():
        published = yaml.safe_load((project_dir("conf") / "dataset" / f"{name}.yaml").read_text())["expected"]
        verdict = "yes" if counts == published else f"no, {', '.join(map(str, published.values()))}"
        print(f"{name:<10}" + "".join(f"{count:>10}" for count in counts.values()) + f"  {verdict}")
        dataset = name if counts == published else "csv"
        following.append(f"  python -m ufgir.train dataset={dataset} dataset.root={out / name}")
    print("\nNext:", *following, sep="\n")
    return DONE


def fetch_weights(arguments: Sequence[str]) -> int:
    """Download what is named and print what became of each."""
    options = parse_options(WeightsOptions, arguments)
    if bool(options.sweep) == bool(options.backbone):
        raise UserError("expected sweep=NAME, such as sweep=paper_448, or backbone=NAME, such as backbone=deit_s.")
    from huggingface_hub import constants

    from ufgir.models.backbones import OFFICIAL_FILES, backbone_label, why_no_weights
    from ufgir.models.factory import create_model

    code, seen = DONE, []
    for backbone in backbones_of(options):
        name, kwargs, checkpoint = backbone["name"], backbone["kwargs"], backbone["checkpoint"]
        if backbone in seen or not (backbone["pretrained"] or checkpoint):
            continue
        seen.append(backbone)
        label, reason = backbone_label(name, kwargs), None if checkpoint else why_no_weights(name, kwargs)
        if label in OFFICIAL_FILES and reason:
            code = code or SKIPPED
        elif reason is None:
            # Building the model takes seconds, and then exactly what a run needs is there, and is known to load.
            try:
                create_model(name, num_classes=1000, pretrained=True, checkpoint=checkpoint, backbone_kwargs=kwargs)
            except UserError as error:
                code, reason = FAILED, str(error)
        print(f"{label:<30} {'not available' if reason else 'ready'}", flush=True)
        if reason:
            print(reason, file=sys.stderr, flush=True)
    if not seen:
        print("nothing to download: these runs start from random weights")
    print(f"cache: {constants.HF_HUB_CACHE}")
    return code


def backbones_of(options: WeightsOptions) -> list[dict[str, Any]]:
    """The group `backbone` of the runs of a grid, or of each name of ours or of timm's."""
    from ufgir.config.compose import compose
    from ufgir.models.backbones import describe, named_backbones
    from ufgir.sweep.grid import jobs_of

    if options.sweep:
        deciding = ("dataset", "backbone", "experiment", "+experiment")  # overrides that can change this group
        jobs = jobs_of([f"sweep={options.sweep}"])
        jobs = dict.fromkeys(tuple(each for each in job if each.startswith(deciding)) for job in jobs)
        return [compose(job)["backbone"] for job in jobs]
    names = options.backbone.split(",")
    for name in names:
        describe(name)  # an error if it is not that of a plain ViT
    known = [named_backbones().get(name, (name, {})) for name in names]
    return [{"name": name, "pretrained": True, "checkpoint": None, "kwargs": dict(kwargs)} for name, kwargs in known]


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
