"""Runs from the run folders below a folder."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd

from ufgir.config.identity import NAMELESS, WITHOUT_EFFECT, _plugins_word
from ufgir.errors import UserError
from ufgir.models.backbones import config_name, timm_name_and_kwargs
from ufgir.reports.collected import Collected, tidy
from ufgir.reports.gradients import read_gradients
from ufgir.reports.layout import CELL, TOME_025_LAYERS, rate_text
from ufgir.runs.folder import RunFolder

# Settings that a cell or a column tells already, that follow from the plug-ins' or the data set's name, or that
# `own_choices` tells in words that are the same on every machine.
TOLD = (*WITHOUT_EFFECT, "dataset.name", "backbone.name", "backbone.kwargs", "backbone.checkpoint", "reducer.name",
        "reducer.keep_rate", "keep_rate", "image_size", "plugins.name", "seed", "augment.name")  # fmt: skip
# What a name in a cell stands for in every cell that has it: the settings, by how they begin, and the column.
BEHIND_NAMES = {"backbone.kwargs.": "backbone", "dataset.root": "dataset"}


def read_folders(root: Path) -> Collected:
    """The finished runs below a folder; the others are named as skipped.

    Raises:
        UserError: there is no run folder, none is finished, or a results.json cannot be read.
    """
    folders = [RunFolder(path) for path in find_folders(root)]
    rows, settings, skipped, faults = [], [], [], []
    for folder in folders:
        name = str(folder.path.relative_to(root))
        try:
            results = folder.read_results()
            if results is None or results["status"] != "finished":
                skipped.append(f"{name}: {'unfinished' if results is None else results['status']}")
                continue
            rows.append(row_of(results, name))
            settings.append(settings_of(results))
        except (ValueError, KeyError, TypeError, OSError) as error:
            faults.append(f"{folder.results} cannot be read ({type(error).__name__}: {error}); delete it, and the "
                          "command of that run writes it again.")
    if faults:
        raise UserError(*faults)
    if not rows:
        found = f"{len(folders)} unfinished or failed runs and no other" if folders else "no run folder"
        raise UserError(f"runs={root} holds {found}: there is nothing to report. Name the folder of finished runs, "
                        "such as outputs, or a CSV file of runs.")
    frame, repeated = told_apart(tidy(pd.DataFrame(rows)), settings)
    skipped += [f"{name}: the same run as {other}" for name, other in repeated.items()]
    return Collected(frame, skipped, read_gradients({name: root / name / "metrics.csv" for name in frame["run"]}))


def told_apart(frame: pd.DataFrame, settings: list[dict[str, str]]) -> tuple[pd.DataFrame, dict[str, str]]:
    """The runs with their variants, each run once; and those left out, each with the one that it repeats.

    Runs are the same if their folders' hashes are. Two that differ in what no setting says, such as the content of
    the tables, are variants by their hash: neither is dropped, and no mean is over both.
    """
    identities = frame["run"].map(identity)
    first = frame["run"].groupby(identities).transform("first")
    repeated = identities.duplicated()
    left_out = dict(zip(frame["run"][repeated], first[repeated], strict=True))
    kept = list(frame.index[~repeated])
    frame, identities = (part.loc[kept].reset_index(drop=True) for part in (frame, identities))
    frame["variant"] = variants(frame, [settings[row] for row in kept])
    alike = frame.duplicated([*CELL, "seed"], keep=False)
    frame.loc[alike, "variant"] = (frame["variant"] + " run=" + identities).str.strip()
    return frame, left_out


def identity(run: str) -> str:
    """The hash in the name of a run's folder; all of the name where a user has given it another one."""
    found = re.search(r"-([0-9a-f]{10})$", run)
    return found[1] if found else run


def find_folders(root: Path) -> list[Path]:
    """Folders with a config.yaml or a results.json of a run, by name; what lies within a run is not looked at."""
    found = []
    for path, folders, files in os.walk(root):
        if {"config.yaml", "results.json"} & set(files):
            found.append(Path(path))
            folders.clear()
    return sorted(found)


def row_of(results: dict[str, Any], name: str) -> dict[str, Any]:
    """The columns of a finished run."""
    config = results["config"]
    backbone, reducer, rate = config["backbone"], config["reducer"]["name"], config["keep_rate"]
    is_tome_025 = (reducer, rate, config["reduction_layers"]) == ("tome", 0.5, TOME_025_LAYERS)
    return {
        "dataset": config["dataset"]["name"],
        "backbone": config_name(backbone["name"], backbone["kwargs"]),
        "timm_name": backbone["name"],
        "reducer": reducer,
        "keep_rate": rate_text(0.25 if is_tome_025 else rate),
        "image_size": config["image_size"],
        "plugins": _plugins_word(config["plugins"]),
        "seed": results["seed"],
        "lr": config["optim"]["lr"],
        "vram_gb": results["peak_memory_gb"],
        "gmacs_source": "run",
        "device": f"{results['versions']['device']}, {config['trainer']['precision']}",
        "run": name,
        **{key: results[key] for key in ("test_top1", "gmacs", "params_m", "train_minutes", "num_classes",
                                         "test_images", "images_per_second")},
    }  # fmt: skip


def settings_of(results: dict[str, Any]) -> dict[str, str]:
    """What can change the numbers of a run and is no part of its cell, by dotted name."""
    flat = pd.json_normalize(results["config"], sep=".").iloc[0].to_dict()
    flat |= {"num_classes": results["num_classes"], "test_images": results["test_images"]}
    told = tuple(f"{name}." for name in TOLD)
    if results["config"]["reducer"]["name"] == "tome":
        flat["tome.keep_rate"] = results["config"]["keep_rate"]  # 0.5 at six layers is not 0.25 at three
    flat = {key: value for key, value in flat.items() if not f"{key}.".startswith(told)}
    return {key: json.dumps(value, default=str) for key, value in {**flat, **own_choices(results["config"])}.items()}


def own_choices(config: dict[str, Any]) -> dict[str, Any]:
    """What makes a model or data another one than its name in the cell says; empty for what the name stands for.

    Sizes that are not those of the named backbone; weights and data of the user's own go by the name of their file or
    folder, because the same ones lie elsewhere on another machine.
    """
    backbone, dataset = config["backbone"], config["dataset"]
    _, usual = timm_name_and_kwargs(config_name(backbone["name"], backbone["kwargs"]))
    sizes = {key: value for key, value in backbone["kwargs"].items() if key not in usual or usual[key] != value}
    own = {f"backbone.kwargs.{key}": value for key, value in sizes.items()}
    if backbone["checkpoint"]:
        own["backbone.checkpoint"] = Path(backbone["checkpoint"]).name
    if dataset["name"] in NAMELESS:
        own["dataset.root"] = Path(dataset["root"]).name
    return own


def variants(frame: pd.DataFrame, settings: list[dict[str, str]]) -> list[str]:
    """For each run, in what its settings differ from others of its cell, so that no mean is over unlike runs.

    What is behind a name differs from others of that name, so that nothing is compared across two models or two sets.

    Returns:
        `optim.lr=0.0005`, several joined by a space; empty for all runs of a cell that agree in everything.
    """
    differing = [set() for _ in settings]
    names = [name for name in CELL if name != "variant"]
    for beginning, columns in {"": names, **BEHIND_NAMES}.items():
        for rows in frame.groupby(columns).indices.values():
            keys = {key for row in rows for key in settings[row] if key.startswith(beginning)}
            found = {key for key in keys if len({settings[row].get(key) for row in rows}) > 1}
            for row in rows:
                differing[row] |= found & settings[row].keys()
    told = zip(differing, settings, strict=True)
    return [" ".join(f"{key}={own[key]}" for key in sorted(keys)) for keys, own in told]
