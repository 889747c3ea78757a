"""The numbers behind docs/results.md, and the page.

    python results/photographs/make.py collect RUNS    # folder with runs of the grid -> the CSV files beside this one
    python results/photographs/make.py page            # the CSV files -> docs/results.md, docs/results.png, README.md
    python results/photographs/make.py check RUNS      # runs that were trained again, against the CSV files

runs.csv          a row for each run, as `python -m ufgir.report runs=results/photographs/runs.csv` reads them
predictions.csv   a row for each run and leaf that it tested: the class that the model took it for
steps.csv         loss, mean and largest absolute gradient of each run, by step
speed.csv         what `python -m ufgir.benchmark` measured for some cells; docs/results.md has the command
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import yaml
from matplotlib import rc_context
from matplotlib.figure import Figure

from ufgir.cli import DONE, FAILED, run_command
from ufgir.config import RunConfig
from ufgir.config.schema import resolved_precision
from ufgir.errors import UserError
from ufgir.report.cells import LEVEL, bootstrap_interval
from ufgir.report.collect import read_folders
from ufgir.report.figures import PLUGIN_COLOURS, STYLE
from ufgir.report.tables import PLUGINS, REDUCERS
from ufgir.sweep.grid import label, load_grid
from ufgir.training.facts import device_name, versions
from ufgir.training.run_folder import RunFolder

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CELL = ["reducer", "keep_rate", "plugins"]
KEYS = {"runs": ["run"], "predictions": ["run", "path"], "steps": ["run", "step"]}
DIGITS = "%.9g"  # all that a float32 has
# A repeated run has the same digits where all of these are equal.
MACHINE = ["device", "python", "torch", "torchvision", "timm", "lightning"]
PHOTOGRAPH = r"/([A-Z]\d+[A-Z])_"  # of a path: leaves cut out of one photograph have it in common
GROUPED = " grouped folds"
PAIRS = (("cla", "base"), ("clc", "base"), ("clca", "base"), ("clca", "cla"), (f"clca{GROUPED}", f"base{GROUPED}"))


def collect(folder: Path) -> None:
    """Add the finished runs below a folder to the CSV files; a run that is there already is replaced."""
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in KEYS}
    for row in read_folders(folder).runs.itertuples(index=False):
        path = folder / row.run
        results = json.loads((path / "results.json").read_text())
        run = path.name.rpartition("-")[2]
        facts = {name: results[name] for name in ("test_loss", "weights_sha256")} | results["versions"]
        own = " ".join(word for word in results["overrides"] if variant([word]))
        facts |= {"run": run, "variant": own, "epochs": results["config"]["trainer"]["max_epochs"]}
        tables["runs"].append(pd.DataFrame([row._asdict() | facts]))
        tested = pd.read_csv(path / "predictions.csv")
        short = ["/".join(Path(image).parts[-2:]) for image in tested["path"]]
        columns = {"run": run, "path": short, "class": tested["class"], "predicted": tested["top1"]}
        tables["predictions"].append(pd.DataFrame(columns))
        tables["steps"].append(steps_of(RunFolder(path)))
    for name, parts in tables.items():
        file = HERE / f"{name}.csv"
        before = [pd.read_csv(file, dtype={"run": str})] if file.exists() else []  # a hash may look like a number
        table = pd.concat([*before, *parts]).drop_duplicates(KEYS[name], keep="last")
        table.sort_values(KEYS[name]).to_csv(file, index=False, float_format=DIGITS)
    print(f"{len(tables['runs'])} runs collected")


def steps_of(folder: RunFolder) -> pd.DataFrame:
    """What a run, finished or not, logged at every tenth step."""
    names = {"train/step_loss": "loss", "train/grad_mean": "mean", "train/grad_max": "max"}
    rows = pd.read_csv(folder.metrics).reindex(columns=["step", *names]).dropna().rename(columns=names)
    rows.insert(0, "run", folder.id)
    return rows


def read() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs, and a row for each run and leaf with `correct` and the columns of its run."""
    runs = pd.read_csv(HERE / "runs.csv", dtype={"run": str, "variant": str})
    runs["plugins"] += runs["variant"].fillna("").map(lambda words: variant(words.split()))
    predictions = pd.read_csv(HERE / "predictions.csv", dtype={"run": str})
    images = predictions.merge(runs[["run", *CELL, "seed"]], on="run")
    return runs, images.assign(correct=images["class"] == images["predicted"])


def variant(words: Iterable[str]) -> str:
    """What the settings of a run of the ablation add to the name of its plug-ins."""
    own = [word for word in words if word.startswith(("plugins.", "dataset.groups="))]
    return "".join(GROUPED if word.startswith("d") else f" {word.removeprefix('plugins.cache.')}" for word in own)


def whole(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of the cells and seeds of which every fold was tested."""
    return runs[runs.groupby([*CELL, "seed"])["fold"].transform("nunique") == runs["folds"]]


def interval(values: pd.Series) -> tuple[float, float, float]:
    """Mean of a value of each leaf, indexed by path, in percent, and its bootstrap interval over photographs.

    Leaves that were cut out of one photograph are drawn together.
    """
    photographs = values.index.str.extract(PHOTOGRAPH, expand=False)
    if photographs.isna().any():
        raise UserError(f"predictions.csv: {values.index[photographs.isna()][0]} names no photograph.")
    low, high = bootstrap_interval(100 * values.to_numpy(), photographs.to_numpy())
    return 100 * values.mean(), low, high


def cells_of(runs: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """A row for each cell: accuracy with its interval, seeds, cost, minutes of one run, and speed where measured."""
    rows = []
    for key, some in runs.groupby(CELL):
        leaves = images[images["run"].isin(some["run"])].groupby("path")["correct"].mean()
        mean, low, high = interval(leaves)
        cost = some[["gmacs", "train_minutes"]].mean()
        facts = {"top1": mean, "low": low, "high": high, "seeds": some["seed"].nunique()}
        rows.append({**dict(zip(CELL, key, strict=True)), **facts, **cost})
    names = [*REDUCERS, *PLUGINS, *sorted(set(runs["plugins"]) - set(PLUGINS))]
    order = {name: number for number, name in enumerate(names)}
    cells = pd.DataFrame(rows).sort_values(CELL, key=lambda column: column.map(lambda value: order.get(value, value)))
    speed = pd.read_csv(HERE / "speed.csv")[[*CELL, "images_per_second", "speedup"]]
    return cells.merge(speed, on=CELL, how="left")


def differences_of(runs: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """A row for each pair of plug-in settings of a reducer and keep rate: the difference over seeds that both have."""
    rows = []
    variants = [(name, name.partition(" ")[0]) for name in sorted(set(runs["plugins"]) - set(PLUGINS))]
    for key, some in runs.groupby(CELL[:2]):
        for better, worse in (*PAIRS, *variants):
            seeds = [set(some.loc[some["plugins"] == name, "seed"]) for name in (better, worse)]
            if not (common := seeds[0] & seeds[1]):
                continue
            chosen = images[images["run"].isin(some.loc[some["seed"].isin(common), "run"])]
            leaves = chosen.pivot_table(index="path", columns="plugins", values="correct", aggfunc="mean")
            mean, low, high = interval(leaves[better] - leaves[worse])
            rows.append([*key, better, worse, len(common), mean, low, high])
    return pd.DataFrame(rows, columns=[*CELL, "than", "seeds", "mean", "low", "high"])


def planned() -> pd.DataFrame:
    """The runs of both grids."""
    rows = []
    for job in [*load_grid("photographs").expand(), *load_grid("photographs_ablation").expand()]:
        row = {"reducer": "evit", "plugins": "clca", **dict(word.split("=", 1) for word in job)}
        row["plugins"] += variant(job)
        rows.append({**row, "keep_rate": float(label(job, "keep_rate") or 0.1)})
    return pd.DataFrame(rows)[[*CELL, "seed", "fold"]].astype({"seed": int, "fold": int})


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
    absent = grid.merge(runs[list(grid)], how="left", indicator="state").query("state == 'left_only'")
    absent = absent.groupby(CELL).size().rename("missing").reset_index()
    span = f"{LEVEL} % interval"
    is_ablation = pairs["than"] == pairs["plugins"].str.partition(" ")[0]
    plain, ablated = cells[cells["plugins"].isin(PLUGINS)], pairs[is_ablation].merge(cells, on=CELL)
    accuracy = [["reducer", "keep rate", "plug-ins", "top-1, %", span, "seeds", "GMACs", "images/s", "speed-up"]]
    accuracy += [
        [c.reducer, f"{c.keep_rate:g}", c.plugins, f"{c.top1:.1f}", f"{c.low:.1f} to {c.high:.1f}", str(c.seeds),
         f"{c.gmacs:.2f}", f"{c.images_per_second:.1f}".replace("nan", "–"), f"{c.speedup:.2f}".replace("nan", "–")]
        for c in plain.itertuples()
    ]  # fmt: skip
    verdict = {(True, False): "better", (False, True): "worse"}
    difference = [["reducer", "keep rate", "pair", "points", span, "seeds", "reading"]]
    difference += [
        [p.reducer, f"{p.keep_rate:g}", f"{p.plugins} - {p.than}", f"{p.mean:+.1f}", f"{p.low:+.1f} to {p.high:+.1f}",
         str(p.seeds), verdict.get((p.low > 0, p.high < 0), "not decided")]
        for p in pairs[~is_ablation].itertuples()
    ]  # fmt: skip
    ablation = [["plug-ins", "top-1, %", span, "GMACs", "points", span, "reading"]]
    ablation += [
        [p.plugins, f"{p.top1:.1f}", f"{p.low_y:.1f} to {p.high_y:.1f}", f"{p.gmacs:.2f}", f"{p.mean:+.1f}",
         f"{p.low_x:+.1f} to {p.high_x:+.1f}", verdict.get((p.low_x > 0, p.high_x < 0), "not decided")]
        for p in ablated.itertuples()
    ]  # fmt: skip
    missing = "; ".join(
        f"{reducer} {rate:g}: {', '.join(f'{c.plugins} {c.missing}' for c in some.itertuples())}"
        for (reducer, rate), some in absent.groupby(CELL[:2])
    )
    hours, devices = runs["train_minutes"].sum() / 60, "; ".join(sorted(runs["device"].unique()))
    versions = ", ".join(f"{name} {' and '.join(sorted(runs[name].unique()))}" for name in MACHINE[1:])
    done = len(grid) - absent["missing"].sum()
    others = f" and {len(runs) - done} others (see Ablation)" if len(runs) > done else ""
    parts = {
        "runs": f"{done} of the {len(grid)} runs of both grids{others}, {hours:.1f} hours of training.\n\n"
        f"- Machine: {devices}\n- Versions: {versions}\n- Not run, with the number of runs: {missing or 'nothing'}",
        "accuracy": markdown(accuracy),
        "differences": markdown(difference),
        "ablation": markdown(ablation),
    }
    for file in (ROOT / "docs" / "results.md", ROOT / "README.md"):
        text = file.read_text()
        for name, part in parts.items():
            head, rest = f"<!-- {name} of results/photographs -->\n", "<!-- end -->"
            if head in text:
                before, _, after = text.partition(head)
                text = before + head + part + "\n" + rest + after.partition(rest)[2]
        file.write_text(text)
    draw(plain, finished)


def draw(cells: pd.DataFrame, runs: pd.DataFrame) -> None:
    """Accuracy against cost and against speed, and gradients by step, as docs/results.png."""
    gradients = pd.read_csv(HERE / "steps.csv", dtype={"run": str}).merge(runs[["run", *CELL]], on="run")
    low = cells["keep_rate"].min()
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 3.6), layout="constrained")
        cost, speed, steps = figure.subplots(1, 3)
        for axis, x in ((cost, "gmacs"), (speed, "images_per_second")):
            for (plugins, reducer), some in cells.groupby(["plugins", "reducer"], sort=False):
                errors = [some["top1"] - some["low"], some["high"] - some["top1"]]
                marker = {"evit": "o", "none": "s"}.get(reducer, "^")
                style = dict(fmt=marker, color=PLUGIN_COLOURS[plugins], capsize=3, markersize=5)
                axis.errorbar(some[x], some["top1"], errors, label=plugins if reducer == "evit" else None, **style)
            for (reducer, rate), some in cells.groupby(CELL[:2]):
                best, name = some.loc[some["top1"].idxmax()], reducer if rate == 1 else f"{reducer} {rate:g}"
                axis.annotate(name, (best[x], best["top1"]), xytext=(5, 4), textcoords="offset points", fontsize=8)
            axis.set(ylabel=f"top-1 of 261 leaves, % ({LEVEL} % interval)", ylim=(0, None))
            axis.margins(x=0.25)
        cost.set(xlabel="GMACs of one image")
        speed.set(xlabel="images per second")
        shown = gradients[(gradients["reducer"] == "evit") & (gradients["keep_rate"] == low)]
        for plugins in [name for name in PLUGINS if name in set(shown["plugins"])]:
            line = shown[shown["plugins"] == plugins].groupby("step")["mean"].mean()
            steps.plot(line.index, line, color=PLUGIN_COLOURS[plugins], label=plugins)
        steps.set(xlabel="step", ylabel=f"mean absolute gradient, evit {low:g}", yscale="log")
        cost.legend(loc="lower right")
        figure.savefig(ROOT / "docs" / "results.png", dpi=130, metadata={"Software": None})


def check(folder: Path) -> bool:
    """Compare runs that were trained again on this machine, to the end or not, with the CSV files.

    Where machine and versions are the same, every digit: of loss and gradients at each step that was logged, and of a
    finished run's test and weights. Elsewhere the accuracy of a finished run, with the spread of the runs of its cell.
    """
    table, steps = read()[0].set_index("run"), pd.read_csv(HERE / "steps.csv", dtype={"run": str})
    good = bool(folders := [RunFolder(file.parent) for file in sorted(folder.glob("*/metrics.csv"))])
    for run in folders:
        if run.id not in table.index:
            raise UserError(f"{run.name}: runs.csv has no such run. Give a folder with runs of this table.")
        recorded, results = table.loc[run.id], run.read_results() if run.is_finished() else None
        config = RunConfig.load(yaml.safe_load(run.config.read_text()), check=False)
        here = {"device": f"{device_name(config)}, {resolved_precision(config)}", **versions()}
        others = [name for name in MACHINE if here[name] != recorded[name]]
        same = {}
        if not others:
            tables = (steps_of(run), steps[steps["run"] == run.id])
            ours, theirs = (part.set_index(["run", "step"]).map(DIGITS.__mod__) for part in tables)
            what = f"loss and gradients at {len(ours)} of {len(theirs)} steps, every digit"
            same[what] = len(ours) > 0 and ours.equals(theirs.head(len(ours)))
        elif results is None:
            why = f"is not finished, and {', '.join(others)} differ"
            raise UserError(f"{run.name} {why}. Repeat the command to finish it.")
        if results is not None:
            top1 = f"top-1 {results['test_top1']:.4f}, recorded {recorded['test_top1']:.4f}"
            if others:
                spread = 3 * table[(table[CELL] == recorded[CELL]).all(axis=1)]["test_top1"].std()
                near = abs(results["test_top1"] - recorded["test_top1"]) <= spread
                same[f"{top1}, within {spread:.1f} points, as {', '.join(others)} differ"] = near
            else:
                equal = all(DIGITS % results[name] == DIGITS % recorded[name] for name in ("test_top1", "test_loss"))
                same[f"{top1}, loss and weights, every digit"] = (
                    equal and results["weights_sha256"] == recorded["weights_sha256"]
                )
        print(run.name, *(f"  {'equal' if equal else 'DIFFERENT'}: {what}" for what, equal in same.items()), sep="\n")
        good &= all(same.values())
    return good


def main(arguments: list[str]) -> int:
    match arguments:
        case ["collect", folder]:
            collect(Path(folder))
        case ["page"]:
            page()
        case ["check", folder]:
            return DONE if check(Path(folder)) else FAILED
        case _:
            raise UserError(f"{' '.join(arguments) or 'no command'}: expected collect RUNS, page or check RUNS.")
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
