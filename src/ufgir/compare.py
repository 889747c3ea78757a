"""Show what models cost before anything is trained: parameters, tokens left and GMACs of every combination.

    python -m ufgir.compare backbone=deit_s,vit_b reducer=evit,tome keep_rate=0.1,0.5 image_size=224,448 [classes=200]

The words are those of training, `plugins=clca` by default; several values, separated by commas, make several models.
classes  number of classes of the classifier (200)
out      FILE.csv for the same figures, one row for each model

The table is Markdown: a row for each choice of words, and columns for the backbones and image sizes. Tokens are those
that leave the reduction layers, class token included, before the cache returns any; of noise for ATS, which keeps fewer
of an easier image.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import track

from ufgir.cli import DONE, count_faults, parse_words, run_command
from ufgir.config import sound_jobs
from ufgir.cost import count_macs, example_image
from ufgir.errors import UserError
from ufgir.files import place_faults, saving, written_whole
from ufgir.models.backbones import config_name
from ufgir.runs.build import build_model

OWN_WORDS = ("classes", "out")  # the others are those of training
CLASSES = "200"
COLUMNS = ("backbone", "image_size")  # of the table; what else differs makes rows


def compare(arguments: Sequence[str]) -> int:
    """Compose every combination, count it and print the table."""
    words = [word for word in arguments if word.partition("=")[0] not in OWN_WORDS]
    own, faults = parse_words([word for word in arguments if word not in words], OWN_WORDS)
    faults += count_faults(own, "classes")
    out = Path(own["out"]).expanduser() if own.get("out") else None
    faults += place_faults("out", out) if out else []
    if faults:
        raise UserError(*faults)
    classes = int(own.get("classes", CLASSES))
    jobs = list(sound_jobs(words))
    progress = partial(track, description="counting", console=Console(stderr=True), transient=True)
    rows = [cost_of(job, config, classes) for job, config in progress(jobs)]
    frame = pd.DataFrame(rows)
    if out:
        with saving("out", out), written_whole(out) as stream:
            frame.to_csv(stream, index=False)
    print(as_markdown(frame))
    return DONE


def cost_of(job: dict[str, str], config: dict[str, Any], classes: int) -> dict[str, Any]:
    """The words and figures of one model."""
    size = config["image_size"]
    model = build_model(config, classes, with_weights=False)
    tokens = model.tokens_after_block(example_image(size))
    reducer, rate = config["reducer"]["name"], config["keep_rate"]
    return {
        **job,
        "backbone": job.get("backbone") or config_name(config["backbone"]["name"], config["backbone"]["kwargs"]),
        "image_size": size,
        "reducer": reducer,
        "keep_rate": rate if isinstance(rate, float) else " ".join(map(str, rate)),
        "plugins": job.get("plugins", config["plugins"]["name"]),
        "tokens": " ".join(str(tokens[layer]) for layer in config["reduction_layers"]),
        "params_m": sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        "gmacs": count_macs(model, size) / 1e9,
    }


def as_markdown(frame: pd.DataFrame) -> str:
    """The figures as a table: one row for each choice of words, columns for backbones and image sizes."""
    figures = ("tokens", "params_m", "gmacs")
    names = [name for name in frame.columns if name not in (*COLUMNS, *figures) and frame[name].nunique() > 1]
    # Backbones with the same patches leave the same tokens: one column will do.
    is_shared = frame.groupby([*names, "image_size"])["tokens"].nunique().max() == 1
    lines: dict[tuple, dict[str, str]] = {}
    for row in frame.to_dict("records"):
        line = lines.setdefault(tuple(str(row[name]) for name in names), {})
        line[f"tokens at {row['image_size']}" if is_shared else f"{row['backbone']} tokens at {row['image_size']}"] = (
            row["tokens"]
        )
        line.setdefault(f"{row['backbone']} M params", f"{row['params_m']:.1f}")
        line[f"{row['backbone']} GMACs at {row['image_size']}"] = f"{row['gmacs']:.2f}"
    heads = list(dict.fromkeys(head for line in lines.values() for head in line))
    heads.sort(key=lambda head: "tokens at" not in head)
    table = [[*names, *heads], ["---"] * (len(names) + len(heads))]
    table += [[*key, *(line.get(head, "") for head in heads)] for key, line in lines.items()]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in table)


if __name__ == "__main__":
    sys.exit(run_command(compare, usage=__doc__))
