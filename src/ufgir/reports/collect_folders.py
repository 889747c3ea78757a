"""Runs from the run folders below a folder."""

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from ufgir.config.identity import WITHOUT_EFFECT, _plugins_word
from ufgir.errors import UserError
from ufgir.models.backbones import config_name
from ufgir.reports.collected import Collected, tidy
from ufgir.reports.gradients import read_gradients
from ufgir.reports.layout import CELL, TOME_025_LAYERS, rate_text
from ufgir.runs.folder import RunFolder

# Settings that a cell or a column tells already, or that follow from the plug-ins' or the data set's name.
TOLD = (*WITHOUT_EFFECT, "dataset.name", "backbone.name", "backbone.kwargs", "backbone.checkpoint", "reducer.name",
        "reducer.keep_rate", "keep_rate", "image_size", "plugins.name", "seed", "augment.name")  # fmt: skip


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
    frame = tidy(pd.DataFrame(rows))
    frame["variant"] = variants(frame, settings)
    repeated = frame.duplicated([*CELL, "seed"])
    skipped += [f"{name}: the same cell, settings and seed as another run" for name in frame["run"][repeated]]
    frame = frame[~repeated].reset_index(drop=True)
    return Collected(frame, skipped, read_gradients({name: root / name / "metrics.csv" for name in frame["run"]}))


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
    return {key: json.dumps(value, default=str) for key, value in flat.items() if not f"{key}.".startswith(told)}


def variants(frame: pd.DataFrame, settings: list[dict[str, str]]) -> list[str]:
    """For each run, in what its settings differ from others of its cell, so that no mean is over unlike runs.

    Returns:
        `optim.lr=0.0005`, several joined by a space; empty for all runs of a cell that agree in everything.
    """
    names = [name for name in CELL if name != "variant"]
    texts = [""] * len(frame)
    for rows in frame.groupby(names).indices.values():
        keys = sorted({key for row in rows for key in settings[row]})
        differing = [key for key in keys if len({settings[row].get(key) for row in rows}) > 1]
        for row in rows:
            texts[row] = " ".join(f"{key}={settings[row].get(key, '-')}" for key in differing)
    return texts
