"""Fill in the tables of docs/results.md and README.md from the CSV files here, and draw docs/results.png.

    python results/photographs/page.py

It takes seconds and needs neither photographs nor weights.
"""

import sys

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from records import BY_PHOTOGRAPH, CELL, HERE, MACHINE, PHOTOGRAPH, RUN, place_of, read_runs

from ufgir.cli import run_command
from ufgir.config.compose import compose
from ufgir.errors import UserError
from ufgir.report.cells import LEVEL, bootstrap_interval
from ufgir.report.figures import PLUGIN_COLOURS, STYLE
from ufgir.report.tables import arranged
from ufgir.sweep.grid import load_grid

ROOT = HERE.parent.parent
UNREDUCED = ("none", 1.0, "base")
PAIRS = (("cla", "base"), ("clc", "base"), ("clca", "base"), ("clca", "cla"))
FOLDS_BY = {"": "leaf", BY_PHOTOGRAPH: "photograph"}  # variants of the data; the others change the training
# Heads of the tables, and what stands below them.
SPAN = f"{LEVEL} % interval"
TOP1 = {"top-1, %": "{top1:.1f}", SPAN: "{low:.1f} to {high:.1f}"}
POINTS = {"points": "{mean:+.1f}", SPAN: "{low:+.1f} to {high:+.1f}"}
ACCURACY = {
    "reducer": "{reducer}", "keep rate": "{keep_rate:g}", "plug-ins": "{plugins}", "folds by": "{folds_by}", **TOP1,
    "seeds": "{seeds}", "GMACs": "{gmacs:.2f}", "images/s": "{images_per_second:.1f}",
    "speed-up": "{speedup:.2f} ({speedup_low:.2f} to {speedup_high:.2f})",
}  # fmt: skip
DIFFERENCES = {
    "reducer": "{reducer}", "keep rate": "{keep_rate:g}", "pair": "{pair}", "folds by": "{folds_by}", **POINTS,
    "single folds": "{least:+.1f} to {most:+.1f}", "seeds": "{seeds}", "reading": "{reading}",
}  # fmt: skip
ABLATION = {
    "reducer": "{reducer}", "keep rate": "{keep_rate:g}", "plug-ins": "{plugins}", "variant": "{variant}",
    "top-1, %": "{top1:.1f}", "GMACs": "{gmacs:.2f}", **POINTS, "seeds": "{seeds}", "reading": "{reading}",
}  # fmt: skip
NEIGHBOURS = {"nearest neighbour among": "{method}", "folds by": "{folds_by}", **TOP1}


def read() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs, and a row for each run and leaf with `correct` and the columns of its run."""
    runs = read_runs()
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
    speed = speed.assign(variant="")[[*CELL, "images_per_second", "speedup", "speedup_low", "speedup_high"]]
    return arranged(pd.DataFrame(rows), CELL).merge(speed, on=CELL, how="left", validate="one_to_one")


def differences_of(runs: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """A row for each two cells that are compared: the difference over seeds that both have, and those of single runs.

    Cells are compared that differ in the plug-ins, as `PAIRS` says, a variant with what it is one of, and the reduced
    model, without plug-ins and with both, with the unreduced one. `pair` names two cells, for those of one variant.
    """
    cells, rows = dict(list(runs.groupby(CELL))), []
    for reducer, rate, plugins, variant in cells:
        others = [(reducer, rate, worse, variant) for better, worse in PAIRS if better == plugins]
        others += [(reducer, rate, plugins, "")] if variant else []
        is_compared = reducer != "none" and plugins in ("base", "clca") and variant in FOLDS_BY
        others += [(*UNREDUCED, variant)] if is_compared else []
        for than in (other for other in others if other in cells):
            pair = cells[cell := (reducer, rate, plugins, variant)], cells[than]
            if not (seeds := set(pair[0]["seed"]) & set(pair[1]["seed"])):
                continue
            tested = [images[images["run"].isin(part["run"][part["seed"].isin(seeds)])] for part in pair]
            mean, low, high = interval(np.subtract(*(part.groupby("path")["correct"].mean() for part in tested)))
            folds = 100 * np.subtract(*(part.groupby(["seed", "fold"])["correct"].mean() for part in tested))
            rows.append([*cell, *than, len(seeds), mean, low, high, folds.min(), folds.max()])
    than = [f"than_{name}" for name in CELL]
    pairs = pd.DataFrame(rows, columns=[*CELL, *than, "seeds", "mean", "low", "high", "least", "most"])
    pairs["reading"] = np.select([pairs["low"] > 0, pairs["high"] < 0], ["better", "worse"], "not decided")
    than = np.where(pairs["than_reducer"] == pairs["reducer"], pairs["than_plugins"], "unreduced")
    also = np.where(pairs["variant"].isin(FOLDS_BY), "", ", " + pairs["variant"])
    pairs["pair"] = pairs["plugins"] + " - " + than + also
    return arranged(pairs, CELL)


def planned() -> pd.DataFrame:
    """The runs of both grids."""
    jobs = [job for name in ("photographs", "photographs_ablation") for job in load_grid(name).expand()]
    return pd.DataFrame([place_of(compose((*job, "dataset.root=DIR"))) for job in jobs])[RUN]


def neighbours_of(found: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each kind of nearest neighbour."""
    rows = []
    for key, leaves in found.groupby(["method", "variant"]):
        spread = interval((leaves["class"] == leaves["predicted"]).set_axis(leaves["path"]))
        rows.append([*key, *spread])
    return pd.DataFrame(rows, columns=["method", "variant", "top1", "low", "high"])


def summary(runs: pd.DataFrame) -> str:
    """How many runs there are, where they were trained, and which are missing."""
    grid = planned()
    absent = grid.merge(runs[RUN], how="left", indicator="state").query("state == 'left_only'")
    done = len(grid) - len(absent)
    counts = absent.groupby(CELL).size().rename("missing").reset_index()
    counts["text"] = (counts["plugins"] + " " + counts["variant"]).str.strip() + " " + counts["missing"].astype(str)
    missing = [f"{name} {rate:g}: {', '.join(some)}" for (name, rate), some in counts.groupby(CELL[:2])["text"]]
    packages = ", ".join(f"{name} {' and '.join(sorted(runs[name].unique()))}" for name in MACHINE[1:])
    others = f" and {len(runs) - done} others (see Ablation)" if len(runs) > done else ""
    hours = runs["train_minutes"].sum() / 60
    return (
        f"{done} of the {len(grid)} runs of both grids{others}, {hours:.1f} hours of training.\n\n"
        f"- Machine: {'; '.join(sorted(runs['device'].unique()))}\n- Versions: {packages}\n"
        f"- Not run, with the number of runs: {'; '.join(missing) or 'nothing'}"
    )


def markdown(rows: pd.DataFrame, columns: dict[str, str]) -> str:
    """A table, numbers to the right."""
    rows = rows.assign(folds_by=rows["variant"].map(FOLDS_BY).fillna(FOLDS_BY[""])).to_dict("records")
    body = [[form.format(**row) for form in columns.values()] for row in rows]
    body = [["–" if "nan" in text else text for text in row] for row in body]  # not measured
    sides = ["---" if text[:1].isalpha() else "---:" for text in (body or [columns])[0]]
    return "\n".join("| " + " | ".join(row) + " |" for row in (columns, sides, *body))


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
            for (reducer, kept), some in shown.groupby(CELL[:2]):
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
        steps.set(xlabel="step", ylabel="mean absolute gradient", yscale="log", ylim=(shown["mean"].min(), None))
        steps.legend(title=f"evit {rate:g}", loc="lower right", ncols=2, fontsize=8)
        figure.savefig(ROOT / "docs" / "results.png", dpi=130, metadata={"Software": None})


def main(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{' '.join(arguments)}: page.py takes no arguments.")
    runs, images = read()
    finished = whole(runs)
    if finished.empty:
        raise UserError("runs.csv: there is no cell of which every fold was tested. Collect more runs.")
    cells, pairs = cells_of(finished, images), differences_of(finished, images)
    has_setting = pairs["variant"] != pairs["than_variant"]
    nearest = neighbours_of(pd.read_csv(HERE / "neighbours.csv", keep_default_na=False))
    parts = {
        "runs": summary(runs),
        "accuracy": markdown(cells[cells["variant"].isin(FOLDS_BY)], ACCURACY),
        "differences": markdown(pairs[~has_setting], DIFFERENCES),
        "ablation": markdown(pairs[has_setting].merge(cells[[*CELL, "top1", "gmacs"]], on=CELL), ABLATION),
        "neighbours": markdown(nearest, NEIGHBOURS),
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


if __name__ == "__main__":
    sys.exit(run_command(main, usage=__doc__))
