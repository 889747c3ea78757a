"""The numbers behind docs/results.md, and the page.

    python results/photographs/make.py collect RUNS          # folder with runs of the grids -> the CSV files here
    python results/photographs/make.py neighbours ROOT FILE  # photographs and weights -> neighbours.csv
    python results/photographs/make.py page                  # the CSV files -> docs/results.md, its figure, README.md
    python results/photographs/make.py check RUNS            # runs that were trained again, against the CSV files

runs.csv          a row for each run, as `python -m ufgir.report runs=results/photographs/runs.csv` reads them
predictions.csv   a row for each run and leaf that it tested: the class that the model took it for
steps.csv         loss, mean and largest absolute gradient of each run, at every tenth step
neighbours.csv    the class of each leaf's nearest neighbour among the training leaves, without any training
speed_*.csv       what `python -m ufgir.benchmark` measured for some cells; docs/results.md has the commands
"""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from matplotlib import rc_context
from matplotlib.figure import Figure

import ufgir
from ufgir.cli import DONE, FAILED, run_command
from ufgir.config import RunConfig
from ufgir.config.identity import OBSERVERS
from ufgir.config.schema import CacheConfig, resolved_precision, show
from ufgir.data import load_splits
from ufgir.data.images import load_image
from ufgir.data.transforms import EvalTransform
from ufgir.errors import UserError
from ufgir.report.cells import LEVEL, bootstrap_interval
from ufgir.report.collect import names_of, read_folders
from ufgir.report.figures import PLUGIN_COLOURS, STYLE
from ufgir.report.tables import arranged
from ufgir.sweep.grid import label, load_grid
from ufgir.training.facts import device_name, versions
from ufgir.training.run_folder import RunFolder

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MODEL = ["reducer", "keep_rate", "plugins"]
CELL = [*MODEL, "variant"]  # variant: settings that the paper does not have, or BY_PHOTOGRAPH
RUN = [*CELL, "seed", "fold"]
RECIPE = ["dataset", "backbone", "image_size", "lr", "epochs"]  # is that of all runs
BY_PHOTOGRAPH = "folds by photograph"
KEYS = {"runs": ["run"], "predictions": ["run", "path"], "steps": ["run", "step"]}
DIGITS = "%.9g"  # all that a float32 has
# A repeated run has the same digits where all of these are equal.
MACHINE = ["device", "python", "torch", "torchvision", "timm", "lightning"]
PHOTOGRAPH = r"/([A-Z][0-9]+[A-Z])_"  # of a path: leaves cut out of one photograph have it in common
UNREDUCED = ("none", 1.0, "base", "")
PAIRS = (("cla", "base"), ("clc", "base"), ("clca", "base"), ("clca", "cla"))


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
        facts |= {"run": run.id, **place_of(results["config"]), "epochs": results["config"]["trainer"]["max_epochs"]}
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


def place_of(values: dict) -> dict:
    """`RUN` of a saved configuration: its cell, seed and fold."""
    config, names = RunConfig.load(values, check=False), names_of(values)
    options = config.plugins.cache.model_dump() if config.plugins.cache else {}
    fields = CacheConfig.model_fields
    variant = [f"{name}={show(value)}" for name, value in options.items() if value != fields[name].default]
    variant += [f"callbacks={name}" for name, part in config.callbacks.items() if part["_target_"] not in OBSERVERS]
    variant += [f"layer_decay={show(decay)}"] if (decay := config.optim.get("layer_decay")) else []
    variant += [BY_PHOTOGRAPH] if config.dataset.arguments().get("groups") else []
    place = {name: names[name] for name in RUN if name in names}
    return {**place, "keep_rate": float(names["keep_rate"]), "variant": ", ".join(variant)}


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


def read() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs, and a row for each run and leaf with `correct` and the columns of its run."""
    runs = pd.read_csv(HERE / "runs.csv", dtype={"run": str, "variant": str}).fillna({"variant": ""})
    predictions = pd.read_csv(HERE / "predictions.csv", dtype={"run": str})
    images = predictions.merge(runs[["run", *RUN]], on="run")
    return runs, images.assign(correct=images["class"] == images["predicted"])


def whole(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of the cells and seeds of which every fold was tested."""
    return runs[runs.groupby([*CELL, "seed"])["fold"].transform("nunique") == runs["folds"]]


def interval(values: pd.Series) -> tuple[float, float, float]:
    """Mean of a value of each leaf, indexed by path, in percent, and its bootstrap interval over photographs.

    Leaves that were cut out of one photograph are drawn together.
    """
    photographs = values.index.str.extract(PHOTOGRAPH, expand=False)
    if photographs.isna().any() or values.isna().any():
        raise UserError("predictions.csv: a path names no photograph, or a leaf was not tested by both models.")
    low, high = bootstrap_interval(100 * values.to_numpy(), photographs.to_numpy())
    return 100 * values.mean(), low, high


def cells_of(runs: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """A row for each cell: accuracy with its interval, number of seeds, cost, and speed where it was measured."""
    rows = []
    for key, some in runs.groupby(CELL):
        leaves = images[images["run"].isin(some["run"])].groupby("path")["correct"].mean()
        mean, low, high = interval(leaves)
        facts = {"top1": mean, "low": low, "high": high, "seeds": some["seed"].nunique(), "gmacs": some["gmacs"].mean()}
        rows.append({**dict(zip(CELL, key, strict=True)), **facts})
    speed = pd.concat(map(pd.read_csv, sorted(HERE.glob("speed_*.csv"))))
    speed.loc[speed["reducer"] == "tome", "keep_rate"] /= 2  # the paper counts both of its layers as one
    speed = speed[[*MODEL, "images_per_second", "speedup", "speedup_low", "speedup_high"]]
    return arranged(pd.DataFrame(rows), CELL).merge(speed, on=MODEL, how="left", validate="many_to_one")


def differences_of(runs: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """A row for each two cells that are compared: the difference over seeds that both have, and those of single runs.

    Cells are compared that differ in the plug-ins, as `PAIRS` says, a variant with what it is one of, and the reduced
    model, without plug-ins and with both, with the unreduced one.
    """
    cells, rows = dict(list(runs.groupby(CELL))), []
    for reducer, rate, plugins, variant in cells:
        others = [(reducer, rate, worse, variant) for better, worse in PAIRS if better == plugins]
        others += [(reducer, rate, plugins, "")] if variant else []
        others += [UNREDUCED] if reducer != "none" and plugins in ("base", "clca") and not variant else []
        for than in (other for other in others if other in cells):
            pair = cells[cell := (reducer, rate, plugins, variant)], cells[than]
            if not (seeds := set(pair[0]["seed"]) & set(pair[1]["seed"])):
                continue
            tested = [images[images["run"].isin(part["run"][part["seed"].isin(seeds)])] for part in pair]
            mean, low, high = interval(np.subtract(*(part.groupby("path")["correct"].mean() for part in tested)))
            folds = 100 * np.subtract(*(part.groupby(["seed", "fold"])["correct"].mean() for part in tested))
            rows.append([*cell, *than, len(seeds), mean, low, high, folds.min(), folds.max()])
    than = [f"than_{name}" for name in CELL]
    frame = pd.DataFrame(rows, columns=[*CELL, *than, "seeds", "mean", "low", "high", "least", "most"])
    return arranged(frame, CELL)


def planned() -> pd.DataFrame:
    """The runs of both grids."""
    rows = []
    for job in [*load_grid("photographs").expand(), *load_grid("photographs_ablation").expand()]:
        row = {"reducer": "evit", "plugins": "clca", **dict(word.split("=", 1) for word in job)}
        settings = [word for word in job if word.startswith(("plugins.cache.", "callbacks=", "optim."))]
        settings = [word.removeprefix("plugins.cache.").removeprefix("optim.") for word in settings]
        variant = BY_PHOTOGRAPH if "dataset.groups" in row else ", ".join(settings)
        rows.append({**row, "variant": variant, "keep_rate": float(label(job, "keep_rate") or 0.1)})
    return pd.DataFrame(rows)[RUN].astype({"seed": int, "fold": int})


def markdown(rows: list[list[str]]) -> str:
    """A table whose first row is its head; numbers to the right."""
    head, *body = rows
    sides = ["---:" if body and re.match(r"[-+–\d]", body[0][n]) else "---" for n in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, sides, *body))


def page() -> None:
    """Fill in what is between markers in docs/results.md and README.md, and draw the figure."""
    runs, images = read()
    finished = whole(runs)
    if finished.empty:
        raise UserError("runs.csv: there is no cell of which every fold was tested. Collect more runs.")
    cells, pairs = cells_of(finished, images), differences_of(finished, images)
    grid = planned()
    absent = grid.merge(runs[RUN], how="left", indicator="state").query("state == 'left_only'")
    absent = absent.groupby(CELL).size().rename("missing").reset_index()
    absent["text"] = (absent["plugins"] + " " + absent["variant"]).str.strip() + " " + absent["missing"].astype(str)
    done = len(grid) - absent["missing"].sum()
    missing = "; ".join(
        f"{reducer} {rate:g}: {', '.join(some['text'])}" for (reducer, rate), some in absent.groupby(MODEL[:2])
    )
    hours, devices = runs["train_minutes"].sum() / 60, "; ".join(sorted(runs["device"].unique()))
    packages = ", ".join(f"{name} {' and '.join(sorted(runs[name].unique()))}" for name in MACHINE[1:])
    others = f" and {len(runs) - done} others (see Ablation)" if len(runs) > done else ""
    span, split = f"{LEVEL} % interval", {"": "leaf", BY_PHOTOGRAPH: "photograph"}
    accuracy = [
        ["reducer", "keep rate", "plug-ins", "folds by", "top-1, %", span, "seeds", "GMACs", "images/s", "speed-up"]
    ]
    for c in cells[cells["variant"].isin(split)].itertuples():
        speed = [f"{c.images_per_second:.1f}", f"{c.speedup:.2f} ({c.speedup_low:.2f} to {c.speedup_high:.2f})"]
        speed = speed if c.speedup > 0 and not c.variant else ["–", "–"]
        top1 = [f"{c.top1:.1f}", f"{c.low:.1f} to {c.high:.1f}", str(c.seeds), f"{c.gmacs:.2f}"]
        accuracy.append([c.reducer, f"{c.keep_rate:g}", c.plugins, split[c.variant], *top1, *speed])
    difference = [["reducer", "keep rate", "pair", "folds by", "points", span, "single folds", "seeds", "reading"]]
    for p in pairs[pairs["variant"] == pairs["than_variant"]].itertuples():
        points = [f"{p.mean:+.1f}", f"{p.low:+.1f} to {p.high:+.1f}", f"{p.least:+.1f} to {p.most:+.1f}", str(p.seeds)]
        than = p.than_plugins if p.than_reducer == p.reducer else "unreduced"
        also = "" if p.variant in split else f", {p.variant}"
        names = [p.reducer, f"{p.keep_rate:g}", f"{p.plugins} - {than}{also}", split.get(p.variant, split[""])]
        difference.append([*names, *points, reading(p.low, p.high)])
    ablation = [["reducer", "keep rate", "plug-ins", "variant", "top-1, %", "GMACs", "points", span, "reading"]]
    pairs = pairs[pairs["variant"] != pairs["than_variant"]].merge(cells, on=CELL, suffixes=("", "_cell"))
    for p in pairs.itertuples():
        numbers = [f"{p.top1:.1f}", f"{p.gmacs:.2f}", f"{p.mean:+.1f}", f"{p.low:+.1f} to {p.high:+.1f}"]
        names = [p.reducer, f"{p.keep_rate:g}", p.plugins, p.variant]
        ablation.append([*names, *numbers, reading(p.low, p.high)])
    nearest = [["nearest neighbour among", "folds by", "top-1, %", span]]
    found = pd.read_csv(HERE / "neighbours.csv", keep_default_na=False)
    for (method, variant), leaves in found.groupby(["method", "variant"]):
        mean, low, high = interval((leaves["class"] == leaves["predicted"]).set_axis(leaves["path"]))
        nearest.append([method, split[variant], f"{mean:.1f}", f"{low:.1f} to {high:.1f}"])
    parts = {
        "runs": f"{done} of the {len(grid)} runs of both grids{others}, {hours:.1f} hours of training.\n\n"
        f"- Machine: {devices}\n- Versions: {packages}\n- Not run, with the number of runs: {missing or 'nothing'}",
        "accuracy": markdown(accuracy),
        "differences": markdown(difference),
        "ablation": markdown(ablation),
        "neighbours": markdown(nearest),
    }
    for file in (ROOT / "docs" / "results.md", ROOT / "README.md"):
        text = file.read_text()
        for name, part in parts.items():
            head, rest = f"<!-- {name} of results/photographs -->\n", "<!-- end -->"
            if head in text:
                before, _, after = text.partition(head)
                text = before + head + part + "\n" + rest + after.partition(rest)[2]
        file.write_text(text)
    draw(cells[cells["variant"] == ""], finished)


def reading(low: float, high: float) -> str:
    """What the interval of a difference says."""
    return "better" if low > 0 else "worse" if high < 0 else "not decided"


def draw(cells: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Accuracy against cost and against speed, and gradients by step, as docs/results.png."""
    gradients = pd.read_csv(HERE / "steps.csv", dtype={"run": str}).merge(runs[["run", *CELL]], on="run")
    rate = cells["keep_rate"].min()
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 3.6), layout="constrained")
        cost, speed, steps = figure.subplots(1, 3)
        for axis, x in ((cost, "gmacs"), (speed, "speedup")):
            shown = cells.dropna(subset=[x])
            for (plugins, reducer), some in shown.groupby(["plugins", "reducer"], sort=False):
                errors = {"yerr": [some["top1"] - some["low"], some["high"] - some["top1"]]}
                if x == "speedup":
                    errors["xerr"] = [some[x] - some["speedup_low"], some["speedup_high"] - some[x]]
                marker = {"evit": "o", "none": "s"}.get(reducer, "^")
                style = dict(fmt=marker, color=PLUGIN_COLOURS[plugins], capsize=3, markersize=5)
                axis.errorbar(some[x], some["top1"], label=plugins if reducer == "evit" else None, **errors, **style)
            for (reducer, kept), some in shown.groupby(MODEL[:2]):
                best, name = some.loc[some["top1"].idxmax()], reducer if kept == 1 else f"{reducer} {kept:g}"
                axis.annotate(name, (best[x], best["top1"]), xytext=(5, 4), textcoords="offset points", fontsize=8)
            axis.set(ylabel=f"top-1 of 261 leaves, % ({LEVEL} % interval)", ylim=(0, None))
            axis.margins(x=0.25)
        cost.set(xlabel="GMACs of one image")
        speed.set(xlabel="images/s relative to timm's model")
        shown = gradients.query("variant == '' and (reducer == 'none' or reducer == 'evit' and keep_rate == @rate)")
        for (reducer, plugins), some in shown.groupby(["reducer", "plugins"]):
            line = some.groupby("step")["mean"].mean()
            style = dict(color=PLUGIN_COLOURS[plugins], linestyle="-" if reducer == "evit" else "--")
            steps.plot(line.index, line, label=plugins if reducer == "evit" else f"{plugins}, unreduced", **style)
        steps.set(xlabel="step", ylabel="mean absolute gradient", yscale="log")
        steps.legend(title=f"evit {rate:g}")
        figure.savefig(ROOT / "docs" / "results.png", dpi=130, metadata={"Software": None})


def check(folder: Path) -> bool:
    """Compare runs that were trained again on this machine, to the end or not, with the CSV files.

    Where machine and versions are the same, every digit: of loss and gradients at each step that was logged, and of a
    finished run's test and weights. Elsewhere the accuracy of a finished run: it may be three standard deviations of
    the runs of its cell away.

    Raises:
        UserError: a run is not of this table, or has not come far enough.
    """
    table, steps = read()[0], pd.read_csv(HERE / "steps.csv", dtype={"run": str})
    folders = [RunFolder(file.parent) for file in sorted(folder.glob("*/metrics.csv"))]
    if not folders:
        raise UserError(f"{folder}: there is no run. Train one of docs/results.md first.")
    good = True
    for run in folders:
        values = yaml.safe_load(run.config.read_text())
        place, results = place_of(values), run.read_results() if run.is_finished() else None
        alike = table[(table[RUN].astype(str) == pd.Series(place)[RUN].astype(str)).all(axis=1)]
        if alike.empty:
            raise UserError(f"{run.name}: runs.csv has no such run. Give a folder with runs of this table.")
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
        case ["page"]:
            page()
        case ["check", folder]:
            return DONE if check(Path(folder)) else FAILED
        case _:
            commands = "collect RUNS, neighbours ROOT FILE, page or check RUNS"
            raise UserError(f"{' '.join(arguments) or 'no command'}: expected {commands}.")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
