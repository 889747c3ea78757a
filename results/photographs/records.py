"""Runs of the grids `photographs` and `photographs_ablation` as CSV files, from which page.py makes docs/results.md.

    python results/photographs/records.py collect RUNS          # add the finished runs of a folder to the CSV files
    python results/photographs/records.py neighbours ROOT FILE  # photographs and weights -> neighbours.csv
    python results/photographs/records.py check RUNS            # compare runs that were trained again with them

runs.csv          a row for each run, as `python -m ufgir.report runs=results/photographs/runs.csv` reads them
predictions.csv   a row for each run and leaf that it tested: the class that the model took it for
steps.csv         loss, mean and largest absolute gradient of each run, at every tenth step
neighbours.csv    the class of each leaf's nearest neighbour among the training leaves, without any training
speed_*.csv       what `python -m ufgir.benchmark` measured for some cells; docs/results.md has the commands
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

import ufgir
from ufgir.cli import DONE, FAILED, run_command
from ufgir.config import RunConfig
from ufgir.config.identity import OBSERVERS
from ufgir.config.schema import CacheConfig, resolved_precision
from ufgir.data import load_splits
from ufgir.data.images import load_image
from ufgir.data.transforms import EvalTransform
from ufgir.errors import UserError, show
from ufgir.report.collect import names_of, read_folders
from ufgir.training.facts import device_name, versions
from ufgir.training.run_folder import RunFolder

HERE = Path(__file__).parent
CELL = ["reducer", "keep_rate", "plugins", "variant"]  # variant: what the paper does not have, or BY_PHOTOGRAPH
RUN = [*CELL, "seed", "fold"]
RECIPE = ["dataset", "backbone", "image_size", "lr", "epochs"]  # the same for all runs
BY_PHOTOGRAPH = "folds by photograph"
KEYS = {"runs": ["run"], "predictions": ["run", "path"], "steps": ["run", "step"]}
DIGITS = "%.9g"  # all that a float32 has
# A repeated run has the same digits where all of these are equal.
MACHINE = ["device", "python", "torch", "torchvision", "timm", "lightning"]
PHOTOGRAPH = r"/([A-Z][0-9]+[A-Z])_"  # of a path: leaves cut out of one photograph have it in common


def collect(folder: Path) -> None:
    """Add the finished runs of the grids below a folder to the CSV files; a run that is there already is replaced.

    Raises:
        UserError: a run has other data or another recipe than the others, or the cell, seed and fold of another one.
    """
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in KEYS}
    found = read_folders(folder).runs
    for row in found[(found["protocol"] == "cv") & ~found["limited"]].itertuples(index=False):
        run = RunFolder(folder / row.run)
        results = run.read_results()
        facts = {name: results[name] for name in ("test_loss", "weights_sha256")} | results["versions"]
        facts |= {"run": run.id, **place_of(results["config"])}
        tables["runs"].append(pd.DataFrame([row._asdict() | facts]))
        tested = pd.read_csv(run.predictions)
        columns = {"run": run.id, "path": tested["path"].map(short), "class": tested["class"]}
        tables["predictions"].append(pd.DataFrame({**columns, "predicted": tested["top1"]}))
        tables["steps"].append(steps_of(run))
    merged = {}
    for name, parts in tables.items():
        file = HERE / f"{name}.csv"
        before = [pd.read_csv(file, dtype={"run": str})] if file.exists() else []  # a hash may look like a number
        table = pd.concat([*before, *parts]).drop_duplicates(KEYS[name], keep="last")
        merged[name] = table.sort_values(KEYS[name])
    runs = merged["runs"].fillna({"variant": ""})
    for name in RECIPE:
        if runs[name].nunique() > 1:
            kinds = ", ".join(map(str, runs[name].unique()))
            raise UserError(f"{folder}: runs of {name}={kinds}. Collect runs of one kind only.")
    if (twice := runs.duplicated(RUN)).any():
        raise UserError(f"{folder}: run {runs['run'][twice].iloc[0]} has the cell, seed and fold of another run.")
    for name, table in merged.items():
        table.to_csv(HERE / f"{name}.csv", index=False, float_format=DIGITS)
    print(f"{len(tables['runs'])} runs collected")


def place_of(values: dict) -> dict[str, Any]:
    """`RUN` and `RECIPE` of a configuration; None for what it does not have."""
    config, names = RunConfig.load(values, check=False), names_of(values)
    options = config.plugins.cache.model_dump() if config.plugins.cache else {}
    fields = CacheConfig.model_fields
    variant = [f"{name}={show(value)}" for name, value in options.items() if value != fields[name].default]
    variant += [f"callbacks={name}" for name, part in config.callbacks.items() if part["_target_"] not in OBSERVERS]
    variant += [f"layer_decay={show(decay)}"] if (decay := config.optim.get("layer_decay")) else []
    variant += [BY_PHOTOGRAPH] if config.dataset.arguments().get("groups") else []
    names |= {"keep_rate": float(names["keep_rate"]), "variant": ", ".join(variant)}
    names |= {"epochs": config.trainer.max_epochs}
    return {name: names.get(name) for name in (*RUN, *RECIPE)}


def short(path: str) -> str:
    """CLASS/FILE of an image."""
    return "/".join(Path(path).parts[-2:])


def steps_of(folder: RunFolder) -> pd.DataFrame:
    """What a run, finished or not, logged at every tenth step."""
    names = {"train/step_loss": "loss", "train/grad_mean": "mean", "train/grad_max": "max"}
    rows = pd.read_csv(folder.metrics).reindex(columns=["step", *names]).dropna().rename(columns=names)
    rows.insert(0, "run", folder.id)
    return rows


@torch.inference_mode()
def neighbours(root: Path, weights: Path) -> None:
    """Take each leaf for its nearest neighbour among the training leaves of its fold, by the correlation of grey
    thumbnails, and of the class tokens of the pretrained model, with and without a reducer, which is not trained."""
    splits = load_splits(root, protocol="cv", folds=4)
    model = dict(backbone="dinov2_s", num_classes=splits.num_classes, img_size=224, checkpoint=weights)
    reduced = ufgir.create_model(**model, reducer="evit", keep_rate=0.1).eval()
    model, transform = ufgir.create_model(**model).eval(), EvalTransform(256, 224)
    features = {"class tokens, unreduced": {}, "class tokens, evit 0.1": {}, "thumbnails of 24 x 24 pixels": {}}
    for path in splits.paths(pd.concat(splits.roles.values())):
        image = load_image(path)
        thumbnail = np.asarray(image.convert("L").resize((24, 24)), dtype=float).ravel()
        tokens = (each.forward_features(transform(image)[None])[0, 0].numpy() for each in (model, reduced))
        for known, feature in zip(features.values(), (*tokens, thumbnail), strict=True):
            known[path] = (feature - feature.mean()) / np.linalg.norm(feature - feature.mean())
    tables = []
    for variant, groups in (("", None), (BY_PHOTOGRAPH, PHOTOGRAPH)):
        for fold in range(4):
            splits = load_splits(root, protocol="cv", fold=fold, folds=4, groups=groups)
            train, test = splits.paths(splits.train), splits.paths(splits.test)
            names = np.array(splits.class_names)
            for method, known in features.items():
                nearest = np.argmax([[known[a] @ known[b] for b in train] for a in test], axis=1)
                columns = {"path": [short(path) for path in test], "class": names[splits.test["class_id"]]}
                predicted = names[splits.train["class_id"].iloc[nearest]]
                tables.append(pd.DataFrame({"method": method, "variant": variant, **columns, "predicted": predicted}))
    pd.concat(tables).to_csv(HERE / "neighbours.csv", index=False)


def read_runs() -> pd.DataFrame:
    """runs.csv."""
    return pd.read_csv(HERE / "runs.csv", dtype={"run": str, "variant": str}).fillna({"variant": ""})


def check(folder: Path) -> bool:
    """Compare runs that were trained again on this machine, to the end or not, with the CSV files.

    Where machine and versions are the same, every digit: of loss and gradients at each step that was logged, and of a
    finished run's test and weights. Elsewhere the accuracy of a finished run: it may be three standard deviations of
    the runs of its cell away.

    Raises:
        UserError: a run is not of this table, or has not come far enough.
    """
    table, steps = read_runs(), pd.read_csv(HERE / "steps.csv", dtype={"run": str})
    folders = [RunFolder(file.parent) for file in sorted(folder.glob("*/metrics.csv"))]
    if not folders:
        raise UserError(f"{folder}: there is no run. Train one of docs/results.md first.")
    good = True
    for run in folders:
        values = yaml.safe_load(run.config.read_text())
        place, results = place_of(values), run.read_results() if run.is_finished() else None
        alike = table[(table[list(place)].astype(str) == pd.Series(place).astype(str)).all(axis=1)]
        if alike.empty:
            settings = ", ".join(f"{name}={value}" for name, value in place.items() if value != "")
            raise UserError(f"{run.name}: runs.csv has no run with {settings}. Give a folder with runs of this table.")
        recorded, config = alike.iloc[0], RunConfig.load(values, check=False)
        here = {"device": f"{device_name(config)}, {resolved_precision(config)}", **versions()}
        others = ", ".join(name for name in MACHINE if here[name] != recorded[name])
        ours, theirs = steps_of(run), steps[steps["run"] == recorded["run"]]
        if results is None and (others or ours.empty):
            why = f"as {others} differ, only its accuracy can be compared" if others else "no step is logged yet"
            raise UserError(f"{run.name} is not finished: {why}. Repeat the command to continue it.")
        same = {}
        if not others:
            ours, theirs = (part.drop(columns="run").map(DIGITS.__mod__) for part in (ours, theirs))
            same[f"loss and gradients at {len(ours)} of {len(theirs)} steps, every digit"] = np.array_equal(
                ours, theirs.head(len(ours))
            )
        if results is not None:
            spread = 3 * table[(table[CELL] == recorded[CELL]).all(axis=1)]["test_top1"].std(ddof=0)
            how = f"at most {spread:.1f} away, as {others} differ" if others else "loss and weights, every digit"
            is_near = abs(results["test_top1"] - recorded["test_top1"]) <= spread
            is_equal = results["weights_sha256"] == recorded["weights_sha256"]
            is_equal &= all(DIGITS % results[name] == DIGITS % recorded[name] for name in ("test_top1", "test_loss"))
            top1 = f"top-1 {results['test_top1']:.2f}, recorded {recorded['test_top1']:.2f}"
            same[f"{top1}, {how}"] = is_near if others else is_equal
        print(run.name, *(f"  {'equal' if equal else 'DIFFERENT'}: {what}" for what, equal in same.items()), sep="\n")
        good &= all(same.values())
    return good


def main(arguments: list[str]) -> int:
    match arguments:
        case ["collect", folder]:
            collect(Path(folder))
        case ["neighbours", root, weights]:
            neighbours(Path(root), Path(weights))
        case ["check", folder]:
            return DONE if check(Path(folder)) else FAILED
        case _:
            commands = "collect RUNS, neighbours ROOT FILE or check RUNS"
            raise UserError(f"{' '.join(arguments) or 'no command'}: expected {commands}.")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
