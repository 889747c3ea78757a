"""Runs from run folders or a CSV file, as one table, and the reason for each that cannot be used."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ufgir.config import RunConfig, axes
from ufgir.config.identity import OBSERVERS, WITHOUT_EFFECT
from ufgir.errors import UserError, did_you_mean, summarize
from ufgir.sweep.grid import PUBLISHED
from ufgir.utils import flatten

# Runs of one cell differ in their seeds and folds alone. `variant` has other settings in which they differ.
CELL = ["dataset", "backbone", "reducer", "keep_rate", "image_size", "plugins", "variant"]
PLACE = ["protocol", "limited", *CELL]
TEXTS = [
    "run", *(name for name in CELL if name != "image_size"), "protocol", "timm_name", "device"
]  # fmt: skip
NUMBERS = [
    "image_size", "seed", "fold", "folds", "lr", "test_top1", "val_top1", "test_images", "val_images", "num_classes",
    "gmacs", "params_m", "train_minutes", "images_per_second", "vram_gb",
]  # fmt: skip
COLUMNS = [*TEXTS, "limited", *NUMBERS]
NEEDED = [*CELL[:-1], "seed"]  # of a CSV file, and a top-1
SOURCE = (
    "Rios et al., Cross-Layer Cache Aggregation for Token Reduction in Ultra-Fine-Grained Image Recognition, ICASSP "
    "2025, arXiv 2501.00243, https://github.com/arkel23/CLCA: seed means of the runs that the authors published. GMACs "
    "are not theirs, but recounted by ufgir, attention included."
)
PROTOCOLS = ("test", "holdout", "cv", "val")
TOME_QUARTER = [2, 3, 5, 6, 8, 9]  # ToMe with keep rate 0.5 at these layers is the paper's 0.25
# Settings that are no variant: they change no number, a column shows them, or they follow from such a column.
SHOWN = (
    *WITHOUT_EFFECT, "backbone.name", "backbone.kwargs", "keep_rate", "image_size", "plugins", "seed", "protocol",
    "fold", "folds", "debug", "trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.limit_test_batches",
)  # fmt: skip


@dataclass
class Collected:
    """What a report is made of.

    Attributes:
        runs: one row for each finished run, with `COLUMNS`; keep rates are text.
        skipped: a line for each input that is not in `runs`: its name and the reason.
        unfinished: `CELL`, `seed`, `protocol` and `why` of runs that failed or did not end.
    """

    runs: pd.DataFrame
    skipped: list[str]
    unfinished: pd.DataFrame


def tidy(frame: pd.DataFrame, *more: str) -> pd.DataFrame:
    """The columns of a run in their types; unknown texts are empty, unknown numbers NaN."""
    frame = frame.reindex(columns=[*COLUMNS, *more])
    texts = [*TEXTS, *more]
    frame[texts] = frame[texts].astype(object).fillna("").astype(str)
    frame[NUMBERS] = frame[NUMBERS].astype(float)
    frame["limited"] = frame["limited"].astype(str).str.lower().eq("true")
    frame["protocol"] = frame["protocol"].replace("", "test")
    return frame.astype({"image_size": int, "seed": int}) if len(frame) else frame


def normalize_rates(rates: Any) -> str:
    """Keep rates, numbers or text, as text: `0.1`, `1`, or one for each layer, `0.7 0.5 0.3`."""
    return " ".join(f"{float(rate):g}" for rate in re.findall(r"[^\s_,\[\]]+", str(rates)))


def read_csv(file: Path) -> Collected:
    """The runs of a CSV file.

    Raises:
        UserError: it is no CSV, has no rows, lacks columns, or holds text where numbers belong.
    """
    try:
        frame = pd.read_csv(file, dtype=dict.fromkeys(TEXTS, object))
    except (ValueError, OSError) as error:  # errors of the parser and of the encoding are ValueErrors
        raise UserError(f"runs={file}: not a CSV file ({summarize(error)}).") from error
    frame.columns = frame.columns.str.strip()
    names = [*NEEDED, "val_top1" if "val_top1" in frame else "test_top1"]
    errors = [
        f"runs={file}: the column {name} is missing.{did_you_mean(name, set(frame.columns) - set(names))}"
        for name in names
        if name not in frame
    ]
    if frame.empty or errors:
        raise UserError(*(errors or [f"runs={file}: no rows."]))
    frame = frame.reindex(columns=COLUMNS)
    protocol = frame["protocol"].astype(object).fillna("").str.strip()
    frame["protocol"] = protocol.where(protocol != "", np.where(frame["fold"].isna(), "test", "cv"))
    top1 = frame["val_top1"].where(frame["protocol"] == "val", frame["test_top1"])
    numbers = frame[NUMBERS].apply(pd.to_numeric, errors="coerce")
    rates = pd.to_numeric(frame["keep_rate"].astype(str).str.split(r"[ _]+").explode(), errors="coerce")
    good = {
        **{(name, "a value"): frame[name].notna() for name in NEEDED},
        **{(name, "a number"): numbers[name].notna() | frame[name].isna() for name in NUMBERS},
        ("keep_rate", "a number above 0 and at most 1"): rates.between(1e-9, 1).groupby(level=0).all(),
        ("protocol", f"one of {', '.join(PROTOCOLS)}"): frame["protocol"].isin(PROTOCOLS),
        (names[-1], "a number for each run of its protocol"): top1.notna(),
    }
    errors = [
        f"runs={file}: {name}={frame[name][rows.idxmin()]} in line {rows.idxmin() + 2}; expected {what}."
        for (name, what), rows in good.items()
        if not rows.all()
    ]
    if errors:
        raise UserError(*errors)
    frame["keep_rate"] = frame["keep_rate"].map(normalize_rates)
    frame = tidy(frame)
    frame["variant"] += variants_of(frame, pd.DataFrame({"optim.lr": frame["lr"].map("{:g}".format)}))
    frame["variant"] = frame["variant"].str.strip()
    repeated = frame.duplicated([*PLACE, "seed", "fold"])
    skipped = [f"line {line + 2}: the same run as an earlier line" for line in frame.index[repeated]]
    return Collected(frame[~repeated].reset_index(drop=True), skipped, tidy(pd.DataFrame(), "why"))


@cache
def published() -> Collected:
    """The 4,458 runs of the authors, numbers only, with GMACs that a report of this package counted."""
    return read_csv(PUBLISHED)


def read_folders(root: Path) -> Collected:
    """The finished runs below a folder. Others, and those that are not readable, are skipped.

    Raises:
        UserError: no finished run.
    """
    rows, settings, skipped, unfinished = [], [], [], []
    for folder in find_folders(root):
        name, file = str(folder.relative_to(root)), folder / "results.json"
        try:
            results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"status": "unfinished"}
            config = results.get("config") or yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
            names = names_of(config)
            if results["status"] == "finished":
                rows.append({**names, **measured(results), "run": name})
                settings.append(settings_of(results))
            else:
                unfinished.append({**names, "why": results["status"]})
                reason = str(results.get("reason") or "").splitlines()[:1]
                skipped.append(": ".join([name, results["status"], *reason]))
        except Exception as error:  # whatever is in the file, the other runs can be reported
            skipped.append(f"{name}: not readable ({summarize(error)})")
    if not rows:
        found = f"{len(skipped)} folders of runs, none of them finished" if skipped else "no run folder"
        message = f"runs={root}: {found}. Name a folder with finished runs, such as outputs, or a CSV file."
        raise UserError(message, *skipped[:10])
    frame, choices = tidy(pd.DataFrame(rows)), pd.DataFrame(settings)
    roots = choices.pop("dataset.root").fillna("")
    several = roots.groupby(frame["dataset"]).transform("nunique") > 1  # two data sets of one name
    frame.loc[several, "dataset"] += "/" + roots
    identity = frame["run"].str.extract(r"-([0-9a-f]{10})$", expand=False).fillna(frame["run"])
    first = frame["run"].groupby(identity).transform("first")
    repeated = identity.duplicated()
    skipped += [f"{frame['run'][row]}: the same run as {first[row]}" for row in frame.index[repeated]]
    frame = frame[~repeated].copy()
    frame["variant"] = variants_of(frame, choices.loc[frame.index])
    alike = frame.duplicated([*PLACE, "seed", "fold"], keep=False)  # such as those of other split tables
    frame.loc[alike, "variant"] += " run=" + identity
    frame["variant"] = frame["variant"].str.strip()
    return Collected(frame.reset_index(drop=True), skipped, tidy(pd.DataFrame(unfinished), "why"))


def find_folders(root: Path) -> list[Path]:
    """Folders of runs, by name. Folders inside a run are not searched."""
    found = []
    for path, folders, files in os.walk(root):
        if {"config.yaml", "results.json"} & set(files):
            found.append(Path(path))
            folders.clear()
    return sorted(found)


def names_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is compared by.

    Args:
        values: its configuration as it was saved.

    Raises:
        KeyError, TypeError, UserError: it is none.
    """
    config = RunConfig.load(values, check=False)
    names = axes(config)
    quarter = (names["reducer"], config.keep_rate, config.reduction_layers) == ("tome", 0.5, TOME_QUARTER)
    rate = 0.25 if quarter else names["keep_rate"]
    return {**names, "keep_rate": normalize_rates(rate), "timm_name": config.backbone.name}


def measured(results: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a finished run.

    Raises:
        KeyError, TypeError, ValueError: results.json lacks something.
    """
    trainer = results["config"]["trainer"]
    top1 = "val_top1" if results["config"]["protocol"] == "val" else "test_top1"
    optional = ("test_top1", "val_top1", "test_images", "val_images", "images_per_second")
    limits = [value for key, value in trainer.items() if key.startswith("limit_")]
    debug = any(re.match(r"\+?debug=(?!null)", override) for override in results.get("overrides") or ())
    device = results.get("device") or results.get("versions", {}).get("device") or "unknown device"
    return {
        **{key: results.get(key) for key in optional},
        **{key: results[key] for key in ("gmacs", "params_m", "train_minutes", "num_classes")},
        top1: float(results[top1]),
        "vram_gb": results.get("peak_memory_gb"),
        "device": f"{device}, {results.get('precision') or trainer['precision']}",
        # 1.0 is all batches, 1 is one batch.
        "limited": debug or any(not isinstance(limit, float) or limit != 1.0 for limit in limits),
    }


def settings_of(results: Mapping[str, Any]) -> dict[str, str]:
    """Settings that can change the numbers of a run and are in no column of it, by dotted name."""
    config = results["config"]
    flat = {**flatten(config), "num_classes": results["num_classes"]}
    observers = [f"callbacks.{name}" for name, part in config["callbacks"].items() if part["_target_"] in OBSERVERS]
    shown = tuple(f"{name}." for name in (*SHOWN, *observers))
    own = {
        key: value
        for key, value in flat.items()
        if not f"{key}.".startswith(shown) or (key.startswith("plugins.") and not key.endswith("name"))
    }
    if config["backbone"]["checkpoint"]:  # by its name: the same file lies elsewhere on another machine
        own["backbone.checkpoint"] = Path(config["backbone"]["checkpoint"]).name
    by_folder = config["dataset"]["name"] in ("csv", "folder")
    own["dataset.root"] = Path(str(config["dataset"].get("root"))).name if by_folder else ""
    return {key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in own.items()}


def variants_of(frame: pd.DataFrame, settings: pd.DataFrame) -> pd.Series:
    """For each run the settings in which runs of its cell differ, so that no mean is over unlike runs.

    They are given for the same cell with other plug-ins too, so that like is compared with like.
    """
    settings = settings[sorted(settings)].fillna("default")
    differing = settings.groupby([frame[name] for name in PLACE]).transform("nunique") > 1
    differing = differing.groupby([frame[name] for name in PLACE if name != "plugins"]).transform("any")
    texts = (f" {name}=" + settings[name].where(differing[name]) for name in settings if differing[name].any())
    return sum((text.fillna("") for text in texts), pd.Series("", frame.index))


def ordered(values: Iterable[str], first: Iterable[str] = ()) -> list[str]:
    """Distinct values: those of `first` in its order, then the others."""
    values = set(values)
    return [value for value in first if value in values] + sorted(values - set(first))
