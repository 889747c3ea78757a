"""Runs from run folders or a CSV file, as one table, and the reason for each that cannot be used."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ufgir.config import RunConfig, axes
from ufgir.config.identity import OBSERVERS, WITHOUT_EFFECT
from ufgir.errors import UserError, did_you_mean, summarize

# Runs of one cell differ in their seeds and folds alone. `variant` is empty unless a cell has runs of several settings.
CELL = ["dataset", "backbone", "reducer", "keep_rate", "image_size", "plugins", "variant"]
PLACE = ["protocol", "limited", *CELL[:-1]]  # what the name of a cell stands for
TEXTS = ["dataset", "backbone", "timm_name", "reducer", "keep_rate", "plugins", "variant", "protocol", "gmacs_source",
         "device", "run"]  # fmt: skip
NUMBERS = ["image_size", "seed", "fold", "folds", "lr", "test_top1", "val_top1", "test_images", "val_images", "gmacs",
           "params_m", "train_minutes", "vram_gb", "num_classes", "images_per_second"]  # fmt: skip
COLUMNS = ["run", *CELL, "seed", "protocol", "limited", "fold", "folds", "lr", "timm_name", "test_top1", "val_top1",
           "test_images", "val_images", "num_classes", "gmacs", "gmacs_source", "params_m", "train_minutes",
           "images_per_second", "vram_gb", "device"]  # fmt: skip
NEEDED = ["dataset", "backbone", "reducer", "keep_rate", "image_size", "plugins", "seed"]  # of a CSV file, and a top-1
PROTOCOLS = ("test", "holdout", "cv", "val")
TOME_QUARTER = [2, 3, 5, 6, 8, 9]  # ToMe with keep rate 0.5 at these layers is the paper's 0.25
# Settings that are no variant: they change no number, a column shows them, or they follow from such a column.
SHOWN = (*WITHOUT_EFFECT, "backbone.name", "backbone.kwargs", "keep_rate", "image_size", "plugins", "seed", "protocol",
         "fold", "folds", "debug")  # fmt: skip
GRADIENTS = {"train/grad_max": "grad_max", "train/grad_mean": "grad_mean"}
POINTS = 120  # of a gradient curve


@dataclass
class Collected:
    """What a report is made of.

    Attributes:
        runs: one row for each finished run, with `COLUMNS`; keep rates are text.
        skipped: a line for each input that is not in `runs`: its name and the reason.
        unfinished: `CELL`, `seed`, `protocol` and `why` of runs that failed or did not end.
        gradients: `run, step, grad_max, grad_mean`.
        variants: letter in the column `variant` -> the settings that it stands for.
    """

    runs: pd.DataFrame
    skipped: list[str]
    unfinished: pd.DataFrame = field(default_factory=lambda: tidy(pd.DataFrame(), "why"))
    gradients: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["run", "step", *GRADIENTS.values()]))
    variants: dict[str, str] = field(default_factory=dict)


def tidy(frame: pd.DataFrame, *more: str) -> pd.DataFrame:
    """The columns of a run in their types; unknown texts are empty, unknown numbers NaN."""
    frame = frame.reindex(columns=[*COLUMNS, *more])
    texts = [*TEXTS, *more]
    frame[texts] = frame[texts].astype(object).fillna("").astype(str)
    frame[NUMBERS] = frame[NUMBERS].astype(float)
    frame["limited"] = frame["limited"].eq(True)
    frame.loc[frame["protocol"] == "", "protocol"] = "test"
    return frame.astype({"image_size": int, "seed": int}) if len(frame) else frame


def rate_text(rates: Any) -> str:
    """Keep rates as text: `0.1`, `1`, or one for each layer, `0.7 0.5 0.3`."""
    rates = re.split(r"[ _]+", rates.strip()) if isinstance(rates, str) else np.atleast_1d(rates)
    return " ".join(f"{float(rate):g}" for rate in rates)


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
    names = [*NEEDED, *([] if "val_top1" in frame else ["test_top1"])]
    errors = [
        f"runs={file}: the column {name} is missing.{did_you_mean(name, set(frame.columns) - set(names))}"
        for name in names if name not in frame
    ]  # fmt: skip
    if frame.empty or errors:
        raise UserError(*(errors or [f"runs={file}: no rows."]))
    protocols, folds = (
        frame[name].astype(object).fillna("") if name in frame else [""] * len(frame) for name in ("protocol", "fold")
    )
    frame["protocol"] = [
        str(protocol).strip() or ("test" if fold == "" else "cv")
        for protocol, fold in zip(protocols, folds, strict=True)
    ]
    number = partial(pd.to_numeric, errors="coerce")
    rates = frame["keep_rate"].astype(str).str.split(r"[ _]+", regex=True)
    expected = {
        **{name: ("a value", frame[name].notna()) for name in names[:7]},
        **{name: ("a number", number(frame[name]).notna() | (frame[name].isna() & (name not in NEEDED)))
           for name in NUMBERS if name in frame},
        "keep_rate": ("a number above 0 and at most 1",
                      rates.map(lambda some: number(pd.Series(some)).between(1e-9, 1).all())),
        "protocol": (f"one of {', '.join(PROTOCOLS)}", frame["protocol"].isin(PROTOCOLS)),
    }  # fmt: skip
    for protocol, name in (("val", "val_top1"), ("test", "test_top1")):
        counts = (frame["protocol"] == "val") == (protocol == "val")
        if name in frame:
            expected.setdefault(name, ("a number", counts))
            expected[name] = ("a number", expected[name][1] & ~(counts & frame[name].isna()))
    for name, (what, good) in expected.items():
        if not good.all():
            row = good.idxmin()
            errors.append(f"runs={file}: {name}={frame[name][row]} in line {row + 2}; expected {what}.")
    if errors:
        raise UserError(*errors)
    frame["keep_rate"] = [rate_text(rates) for rates in frame["keep_rate"]]
    if "limited" in frame:
        frame["limited"] = frame["limited"].astype(str).str.lower().eq("true")
    frame = tidy(frame)
    # Rows of one cell, seed and fold are variants if their learning rates differ, else repetitions.
    same = [*PLACE, "variant", "seed", "fold"]
    rates = frame.groupby(same, dropna=False)["lr"].transform("nunique")
    block = [frame[name] for name in [*PLACE, "variant"] if name != "plugins"]
    mixed = (rates > 1).groupby(block).transform("any")
    frame.loc[mixed, "variant"] += " optim.lr=" + frame["lr"].map("{:g}".format)
    repeated = frame.duplicated(same)
    skipped = [f"line {line + 2}: the same run as an earlier line" for line in frame.index[repeated]]
    runs, letters = lettered(frame[~repeated].reset_index(drop=True))
    return Collected(runs, skipped, variants=letters)


def read_folders(root: Path) -> Collected:
    """The finished runs below a folder. Others, and those with a damaged results.json, are skipped.

    Raises:
        UserError: no finished run.
    """
    rows, settings, skipped, unfinished = [], [], [], []
    for folder in find_folders(root):
        name = str(folder.relative_to(root))
        try:
            file = folder / "results.json"
            results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"status": "unfinished"}
            if results["status"] == "finished":
                row, own = row_of(results, name), settings_of(results)
                rows.append(row)
                settings.append(own)
                continue
            reason = str(results.get("reason") or "").splitlines()
            skipped.append(": ".join([name, results["status"], *reason[:1]]))
            config = results.get("config") or yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
            unfinished.append({**names_of(RunConfig.load(config, check=False), config), "why": results["status"]})
        except Exception as error:  # whatever is in the file, the other runs can be reported
            if not any(line.startswith(f"{name}:") for line in skipped):
                advice = "delete the file and repeat the run's command"
                skipped.append(f"{name}: results.json is damaged ({summarize(error)}); {advice}")
    if not rows:
        found = f"{len(skipped)} folders of runs, none of them finished" if skipped else "no run folder"
        raise UserError(f"runs={root}: {found}. Name a folder with finished runs, such as outputs, or a CSV file.",
                        *skipped[:10])  # fmt: skip
    frame = tidy(pd.DataFrame(rows))
    roots = pd.Series([own.pop("dataset.root", "") for own in settings])
    several = roots.groupby(frame["dataset"]).transform("nunique") > 1  # two data sets of one name
    frame.loc[several, "dataset"] += "/" + roots
    identities = frame["run"].map(lambda run: (re.findall(r"-([0-9a-f]{10})$", run) or [run])[0])
    repeated = identities.duplicated()
    first = frame["run"].groupby(identities).transform("first")
    skipped += [f"{frame['run'][row]}: the same run as {first[row]}" for row in frame.index[repeated]]
    kept = list(frame.index[~repeated])
    frame, identities = frame.loc[kept].reset_index(drop=True), identities[kept].reset_index(drop=True)
    frame["variant"] = variants_of(frame, [settings[row] for row in kept])
    alike = frame.duplicated([*PLACE, "variant", "seed", "fold"], keep=False)  # such as those of other split tables
    frame.loc[alike, "variant"] += " run=" + identities
    frame, letters = lettered(frame)
    gradients = [
        curve for run in frame["run"] if (curve := gradient_curve(run, root / run / "metrics.csv")) is not None
    ]
    more = {"gradients": pd.concat(gradients, ignore_index=True)} if gradients else {}
    return Collected(frame, skipped, tidy(pd.DataFrame(unfinished), "why"), variants=letters, **more)


def find_folders(root: Path) -> list[Path]:
    """Folders of runs, by name. What lies within one is not looked at."""
    found = []
    for path, folders, files in os.walk(root):
        if {"config.yaml", "results.json"} & set(files):
            found.append(Path(path))
            folders.clear()
    return sorted(found)


def names_of(config: RunConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is compared by."""
    names = axes(config)
    rate = (
        0.25 if (names["reducer"], config.keep_rate, config.reduction_layers) == ("tome", 0.5, TOME_QUARTER) else None
    )
    return {**names, "keep_rate": rate_text(rate or names["keep_rate"]), "timm_name": values["backbone"]["name"]}


def row_of(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The columns of a finished run.

    Raises:
        KeyError, TypeError, UserError: results.json lacks something.
    """
    config = RunConfig.load(results["config"], check=False)
    row = names_of(config, results["config"])
    top1 = "val_top1" if row["protocol"] == "val" else "test_top1"
    row[top1] = float(results[top1])
    limits = [value for key, value in results["config"]["trainer"].items() if key.startswith("limit_")]
    debug = any(re.match(r"\+?debug=(?!null)", override) for override in results.get("overrides") or ())
    # 1.0 is all batches, 1 is one batch.
    row["limited"] = debug or any(not isinstance(limit, float) or limit != 1.0 for limit in limits)
    known = {
        key: results.get(key) for key in ("test_top1", "val_top1", "test_images", "val_images", "images_per_second")
    }
    facts = {key: results[key] for key in ("gmacs", "params_m", "train_minutes", "num_classes")}
    device = results.get("device") or results.get("versions", {}).get("device") or "unknown device"
    precision = results.get("precision") or results["config"]["trainer"]["precision"]
    return {**known, **facts, **row, "gmacs_source": "run", "vram_gb": results.get("peak_memory_gb"), "run": name,
            "device": f"{device}, {precision}"}  # fmt: skip


def settings_of(results: Mapping[str, Any]) -> dict[str, str]:
    """Settings that can change the numbers of a run and are in no column of it, by dotted name."""
    config = results["config"]
    flat = {**flatten(config), "num_classes": results["num_classes"]}
    observers = [f"callbacks.{name}" for name, part in config["callbacks"].items() if part["_target_"] in OBSERVERS]
    shown = tuple(f"{name}." for name in (*SHOWN, *observers))
    own = {key: value for key, value in flat.items() if not f"{key}.".startswith(shown)}
    own |= {key: value for key, value in flat.items() if key.startswith("plugins.") and not key.endswith("name")}
    own = {key: value for key, value in own.items() if not key.startswith("trainer.limit_")}
    if config["backbone"]["checkpoint"]:  # by its name: the same file lies elsewhere on another machine
        own["backbone.checkpoint"] = Path(config["backbone"]["checkpoint"]).name
    if config["dataset"]["name"] in ("csv", "folder"):
        own["dataset.root"] = Path(str(config["dataset"].get("root"))).name
    return {key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in own.items()}


def flatten(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat


def variants_of(frame: pd.DataFrame, settings: list[dict[str, str]]) -> list[str]:
    """For each run the settings in which runs of its cell differ, so that no mean is over unlike runs.

    They are given for the same cell with other plug-ins too, so that like is compared with like.
    """
    texts = [""] * len(frame)
    for _, block in frame.groupby([name for name in PLACE if name != "plugins"]):
        differing: set[str] = set()
        for rows in block.groupby("plugins").groups.values():
            names = {name for row in rows for name in settings[row]}
            differing |= {name for name in names if len({settings[row].get(name) for row in rows}) > 1}
        for row in block.index:
            texts[row] = " ".join(f"{name}={settings[row].get(name, 'default')}" for name in sorted(differing))
    return texts


def lettered(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """The runs with a letter for each variant, and what the letters stand for."""
    texts = sorted(
        set(frame["variant"].str.strip()) - {""}, key=lambda text: [_number(p) for p in re.split("([=, ])", text)]
    )
    letters = {text: _letter(number) for number, text in enumerate(texts)}
    frame = frame.assign(variant=[letters.get(text.strip(), "") for text in frame["variant"]])
    return frame, {letter: text for text, letter in letters.items()}


def _number(text: str) -> tuple[float, str]:
    try:
        return float(text), ""
    except ValueError:
        return float("inf"), text


def _letter(number: int) -> str:
    return (_letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)


def gradient_curve(run: str, file: Path) -> pd.DataFrame | None:
    """Largest and mean absolute gradient of a run, averaged within up to `POINTS` stretches; None without any."""
    try:
        steps = pd.read_csv(file, usecols=lambda name: name in {"step", *GRADIENTS}).rename(columns=GRADIENTS)
        steps = steps[["step", *GRADIENTS.values()]].dropna()  # rows of epochs and of the test have no gradients
    except (OSError, ValueError, KeyError):
        return None
    if steps.empty:
        return None
    stretches = steps.groupby(np.arange(len(steps)) // -(-len(steps) // POINTS))
    return stretches.agg({"step": "max", "grad_max": "mean", "grad_mean": "mean"}).assign(run=run)


def ordered(values: Iterable[str], first: Iterable[str] = ()) -> list[str]:
    """Distinct values: those of `first` in its order, then the others."""
    values = set(values)
    return [value for value in first if value in values] + sorted(values - set(first))
