"""The tables of a report."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ufgir.report.cells import LEVEL, NAMES, RESAMPLES, pairs_of, summary
from ufgir.report.collect import CELL, PROTOCOLS, ordered

PLUGINS = ("base", "cla", "clc", "clca", "ifa")  # in the order of the paper's ablation
REDUCERS = ("none", "topk", "evit", "tome", "ats", "dyvit", "dpcknn", "sit", "patchmerger")
DATASETS = ("cotton80", "soyageing", "soyglobal", "soygene", "soylocal")  # the first three are those of Table I
ORDERS = {"plugins": PLUGINS, "reducer": REDUCERS, "dataset": DATASETS, "protocol": PROTOCOLS}
METRICS = {
    "test": "test top-1",
    "holdout": "test top-1 of the epoch chosen on val",
    "cv": "cross-validated top-1",
    "val": "validation top-1",
}  # by protocol
TITLES = {
    "dataset": "data set", "keep_rate": "keep rate", "image_size": "px", "plugins": "plug-ins", "n": "seeds",
    "gmacs": "GMACs", "gmacs_paper": "paper GMACs", "params_m": "M params", "images_per_second": "images/s",
    "train_minutes": "minutes", "absent": "runs", "test_top1": "test top-1 %", "val_top1": "val top-1 %",
    "others": "other settings", "best": "best rate", "top1": "top-1 %", "interval": f"{LEVEL} % interval",
}  # fmt: skip
MISSING = "–"


@dataclass
class Table:
    """A table to be read, and the numbers behind it.

    Attributes:
        name: of its files.
        title: what it shows, in one line.
        frame: texts in Markdown; the first `heads` columns name the row.
        values: numbers for the CSV file.
        notes: sentences below it.
        heads: columns that name a row.
        backbone: shown where this one is chosen in the page; empty without a choice.
    """

    name: str
    title: str
    frame: pd.DataFrame
    values: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    heads: int = 1
    backbone: str = ""

    def write(self, folder: Path, name: str) -> None:
        """Write `<name>.md`, `.csv` and `.tex` into a folder."""
        file = folder / re.sub(r"[^A-Za-z0-9.-]", "_", name)
        sides = ["left" if number < self.heads else "right" for number in range(self.frame.shape[1])]
        cells = self.frame.map(lambda text: text.replace("|", "\\|"))
        body = cells.to_markdown(index=False, colalign=sides, disable_numparse=True)
        markdown = f"**{self.title}**\n\n{body}\n\n" + "  \n".join(self.notes) + "\n"
        comments = "".join(f"% {line}\n" for line in [self.title, *self.notes, "needs the package booktabs"])
        # pandas' to_latex takes a second for a thousand rows.
        head, *rows = (" & ".join(map(_latex, row)) + r" \\" for row in (self.frame, *self.frame.to_numpy()))
        begin = rf"\begin{{tabular}}{{{''.join(side[0] for side in sides)}}}"
        latex = [begin, r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}", ""]
        Path(f"{file}.md").write_text(markdown, encoding="utf-8")
        Path(f"{file}.tex").write_text(comments + "\n".join(latex), encoding="utf-8")
        self.values.to_csv(f"{file}.csv", index=False)


def _latex(text: str) -> str:
    text = re.sub(r"[&%$#_{}]", r"\\\g<0>", text)
    text = text.replace("±", r"$\pm$").replace("–", "--").replace("(-", "($-$")
    return re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", text)


def accuracy_text(mean: float, std: float, digits: int = 1) -> str:
    """`55.6 ± 1.2`, or the mean alone where there is one run."""
    return f"{mean:.{digits}f}" + ("" if pd.isna(std) else f" ± {std:.{digits}f}") if mean == mean else MISSING


def cost_text(gmacs: float) -> str:
    """GMACs in three digits."""
    return f"{gmacs:#.3g}".rstrip(".")


FORMATS = {
    **dict.fromkeys(["gmacs", "gmacs_paper"], cost_text),
    **dict.fromkeys(["params_m", "images_per_second", "train_minutes", "test_top1", "val_top1"], "{:.1f}".format),
    "difference": "{:+.1f}".format,
    "best": "{:g}".format,
}


def make_table(
    name: str, title: str, frame: pd.DataFrame, heads: list[str], notes: list[str], values: pd.DataFrame, **more: str
) -> Table:
    """The columns of a frame as texts under names for readers; those of which nothing is known are left out.

    Args:
        heads: the first columns, which name a row.
        values: the numbers behind it.
    """
    frame = frame.astype(object).loc[:, ~(frame.isna() | frame.eq("")).all()]
    heads = [column for column in heads if column in frame]
    for column in frame:
        write = FORMATS.get(column, str)
        frame[column] = [MISSING if pd.isna(value) else write(value) for value in frame[column]]
    frame = frame.rename(columns=TITLES).rename_axis(columns=None)
    return Table(name, title, frame, values, notes, len(heads), **more)


def arranged(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Rows in reading order: protocols, plug-ins, reducers and data sets as the paper has them, the rest by value."""

    def rank(column: pd.Series) -> pd.Series:
        order = {name: number for number, name in enumerate(ordered(column, ORDERS.get(column.name, ())))}
        return column.map(order) if column.name in ORDERS else column

    return frame.sort_values(names, key=rank, kind="stable")


def counted(number: int, what: str) -> str:
    """`1 cell`, `1,919 cells`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def legend(cells: pd.DataFrame, metric: str) -> list[str]:
    """What the accuracies of a table are."""
    most = int(cells["n"].max())
    uneven = ", or as in [ ]" if (cells["n"] < most).any() else ""
    shown = "mean ± standard deviation (n - 1) over the seeds"
    return [f"{metric.capitalize()} in percent, {shown}; {MISSING}: no run. Seeds: {most}{uneven}."]


def pivot_accuracies(cells: pd.DataFrame, rows: list[str], column: str, versus_base: bool = False) -> pd.DataFrame:
    """Accuracies with one column for each value of `column`.

    Args:
        versus_base: bold the best plug-in setting of rows that differ in nothing else, and add differences to base.
    """
    cells, most = arranged(cells, [*rows, column]), int(cells["n"].max())
    blocks = [name for name in rows if name != "plugins"] + [column]
    base = cells.merge(cells.loc[cells["plugins"] == "base", [*blocks, "mean"]], on=blocks, how="left")["mean_y"]
    best, of = (cells.groupby(blocks)["mean"].transform(name) for name in ("max", "size"))
    texts = []
    for cell, base_mean, best_mean, count in zip(cells.itertuples(), base, best, of, strict=True):
        text = accuracy_text(cell.mean, cell.std)
        if versus_base and count > 1 and cell.mean == best_mean:
            text = re.sub(r"^\S+", r"**\g<0>**", text)
        text += f" [{cell.n}]" if cell.n != most else ""
        text += f" ({cell.mean - base_mean:+.1f})" if versus_base and cell.plugins != "base" and base_mean > 0 else ""
        texts.append(text)
    wide = cells.assign(text=texts).set_index([*rows, column])["text"].unstack(column, sort=False)
    wide = wide.reindex(index=cells.set_index(rows).index.unique())
    return wide[ordered(wide.columns, ORDERS.get(column, ()))].reset_index()


def table1(cells: pd.DataFrame, metric: str, backbone: str = "") -> Table | None:
    """Table I: plug-ins by keep rate, a column for each data set, without reduction at the end.

    The reducer, backbone and size are the paper's if any run has them, else those with the most cells.

    Args:
        backbone: the one to show; None is returned where it has no cell.
    """
    pool = cells[cells["backbone"] == backbone] if backbone else cells
    if pool.empty:
        return None
    reduced = pool[pool["reducer"] != "none"]
    choices = (reduced if len(reduced) else pool)[["reducer", "backbone", "image_size"]].value_counts().index
    paper = ("evit", backbone or "deit3_b", 448)
    reducer, backbone, size = paper if paper in choices else choices[0]
    chosen = pool[(pool["backbone"] == backbone) & (pool["image_size"] == size)]
    chosen = chosen[chosen["reducer"].isin([reducer, "none"])]
    rows = ["reducer", "keep_rate", "plugins", "variant"]
    frame = pivot_accuracies(chosen, rows, "dataset", versus_base=True)
    costs = chosen.groupby(rows)["gmacs"].mean().rename("gmacs")  # data sets differ by their classifiers alone
    frame = frame.join(costs, on=rows).sort_values("reducer", key=lambda names: names == "none", kind="stable")
    notes = legend(chosen, metric)
    if chosen["plugins"].nunique() > 1:
        notes.append("Bold: the best of a keep rate. With a sign: difference to base in percentage points.")
    title = f"Table I: {reducer}, {backbone}, {size} px"
    return make_table("table1", title, frame, rows, notes, chosen, backbone=backbone)


def by_axis(cells: pd.DataFrame, axis: str, column: str, metric: str) -> list[Table]:
    """A table for each value of `axis`, such as each backbone, with one column for each value of `column`."""
    rows = ["image_size", "reducer", "keep_rate", "plugins", "variant"]
    tables = []
    for value in ordered(cells[axis], ORDERS.get(axis, ())):
        part = cells[cells[axis] == value]
        title = f"{TITLES.get(axis, axis).capitalize()} {value}"
        frame = pivot_accuracies(part, rows, column)
        tables.append(make_table(f"{axis}_{value}", title, frame, rows, legend(part, metric), part))
    return tables


def all_cells(cells: pd.DataFrame, metric: str) -> Table:
    """Every cell with its cost."""
    cells = arranged(cells, CELL)
    frame = cells[[*CELL, "n", "gmacs", "params_m", "images_per_second", "train_minutes"]]
    top1 = [accuracy_text(cell.mean, cell.std, digits=2) for cell in cells.itertuples()]
    frame.insert(len(CELL) + 1, "top1", top1)
    notes = [f"{metric.capitalize()} in percent, mean ± standard deviation (n - 1) over the seeds."]
    return make_table("cells", counted(len(cells), "cell"), frame, CELL, notes, cells)


def best_learning_rates(runs: pd.DataFrame) -> Table | None:
    """Validation accuracy by learning rate, for cells that were trained at several; None if there are none."""
    others = runs["variant"].str.replace(r"optim\.lr=\S+ ?", "", regex=True).str.strip()
    names = [*CELL[:-1], "others"]
    means = runs.assign(others=others).groupby([*names, "lr"])["top1"].agg(mean="mean", n="size").reset_index()
    groups = means.groupby(names)
    means = means.assign(best=means["lr"].loc[groups["mean"].transform("idxmax")].to_numpy())
    means = arranged(means[groups["lr"].transform("size") > 1], names)
    if means.empty:
        return None
    means["text"] = [f"**{row.mean:.1f}**" if row.lr == row.best else f"{row.mean:.1f}" for row in means.itertuples()]
    wide = means.pivot(index=[*names, "best"], columns="lr", values="text").rename(columns="{:g}".format)
    wide = arranged(wide.reset_index(), names)
    notes = ["Validation top-1 in percent by learning rate, mean over the seeds; bold: the best of a row."]
    title = "Best learning rate on the validation images"
    return make_table("best_lr", title, wide, [*names, "best"], notes, means)


def differences(runs: pd.DataFrame, metric: str, better: str = "clca", worse: str = "base") -> Table | None:
    """Paired differences of two plug-in settings by group; None where no run has a partner."""
    pairs, alone = pairs_of(runs, better, worse)
    if pairs.empty:
        return None
    names = ["image_size", "reducer", "keep_rate", "dataset", "backbone"]
    rows = []
    for keys in (names[:3], ["image_size", "dataset"], ["image_size", "backbone"], ["image_size"]):
        for key, group in arranged(pairs, keys).groupby(keys, sort=False):
            rows.append({"by": " ".join(keys), **dict(zip(keys, key, strict=True)), **summary(group)})
    values = pd.DataFrame(rows).reindex(columns=["by", *names, *list(rows[0])[4:]])
    frame = values[names].astype(object).where(values[names].notna(), "all")
    frame["units"] = [counted(row.units, row.of[:-1]) for row in values.itertuples()]
    frame["difference"] = values["mean"]
    interval = [f"{row.low:+.1f} to {row.high:+.1f}" for row in values.itertuples()]
    frame["interval"] = pd.Series(interval).where(values["low"].notna())
    frame = frame.join(values[["wins", "ties", "losses"]])
    notes = [
        f"Percentage points of {metric}, {better} minus {worse}, over runs of the same cell and seed; {alone} runs "
        "without a partner are left out. A unit is a cell with its seeds averaged, or a seed where there is one cell. "
        f"Interval: {RESAMPLES:,} bootstrap resamples of the units. A win is a unit with a difference above 0."
    ]
    return make_table("differences", f"{better.upper()} minus {worse}", frame, names, notes, values)


def beside_paper(cells: pd.DataFrame, paper: pd.DataFrame, source: str) -> Table | None:
    """Ours and the paper's, every cell that either has on the data sets of both; those of the paper alone come last."""
    cells, paper = (one[one["dataset"].isin(other["dataset"])] for one, other in ((cells, paper), (paper, cells)))
    if cells.empty:
        return None
    both = arranged(cells.merge(paper, on=CELL, how="outer", suffixes=("", "_paper")), CELL)
    both = both.assign(difference=both["mean"] - both["mean_paper"])
    both = both.sort_values("mean", key=pd.isna, kind="stable")
    frame = both[CELL].assign(
        ours=[accuracy_text(cell.mean, cell.std) for cell in both.itertuples()],
        paper=[accuracy_text(cell.mean_paper, cell.std_paper) for cell in both.itertuples()],
        **both[["difference", "gmacs", "gmacs_paper"]],
    )
    ours, theirs = both["mean"].notna(), both["mean_paper"].notna()
    notes = [
        f"Test top-1 in percent. {(ours & theirs).sum():,} cells in both, {(ours & ~theirs).sum():,} of ours alone, "
        f"{(~ours & theirs).sum():,} of the paper's alone ({MISSING}: no run).",
        f"Paper: {source}",
    ]
    numbers = ["n", "mean", "std", "gmacs", "n_paper", "mean_paper", "std_paper", "gmacs_paper", "difference"]
    return make_table("comparison", "Ours beside the paper", frame, CELL, notes, both[[*CELL, *numbers]])


def missing_table(missing: pd.DataFrame) -> Table | None:
    """Runs that were planned or begun and are not finished."""
    if missing.empty:
        return None
    missing = arranged(missing, NAMES)
    title = f"{counted(missing['absent'].sum(), 'missing run')} in {counted(len(missing), 'cell')}"
    return make_table("missing", title, missing, NAMES, [], missing)


def limited_table(runs: pd.DataFrame) -> Table | None:
    """Debug runs and runs on a part of the data, which enter nothing else."""
    names = ["run", *NAMES, "seed"]
    limited = arranged(runs[runs["limited"]], ["protocol", *CELL, "seed"])
    notes = ["Runs with debug= or trainer.limit_* on a part of the data. They enter no other table and no figure."]
    frame = limited[[*names, "test_top1", "val_top1"]]
    return None if limited.empty else make_table("limited", "Limited and debug runs", frame, names, notes, limited)
