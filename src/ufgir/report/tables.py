"""The tables of a report."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ufgir.report.cells import LEVEL, RESAMPLES, pairs_of, summary
from ufgir.report.collect import CELL, PROTOCOLS, ordered

PLUGINS = ("base", "cla", "clc", "clca", "ifa")  # in the order of the paper's ablation
REDUCERS = ("none", "topk", "evit", "tome", "ats", "dyvit", "dpcknn", "sit", "patchmerger")
DATASETS = ("cotton80", "soyageing", "soyglobal", "soygene", "soylocal")  # the first three are those of Table I
ORDERS = {"plugins": PLUGINS, "reducer": REDUCERS, "dataset": DATASETS, "protocol": PROTOCOLS}
METRICS = {"test": "test top-1", "holdout": "test top-1 of the epoch chosen on val",
           "cv": "cross-validated top-1", "val": "validation top-1"}  # by protocol  # fmt: skip
TITLES = {
    "dataset": "data set", "keep_rate": "keep rate", "image_size": "px", "plugins": "plug-ins", "n": "seeds",
    "gmacs": "GMACs", "params_m": "M params", "images_per_second": "images/s", "train_minutes": "minutes",
    "absent": "runs", "lr": "learning rate",
}  # fmt: skip
TABLE1 = {"reducer": "evit", "backbone": "deit3_b", "image_size": 448}  # the paper's
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

    def write(self, folder: Path) -> None:
        """Write `<name>.md`, `.csv` and `.tex` into a folder."""
        kinds = ["l" if number < self.heads else "r" for number in range(self.frame.shape[1])]
        align = ["left" if kind == "l" else "right" for kind in kinds]
        cells = self.frame.map(lambda text: text.replace("|", "\\|"))
        body = cells.to_markdown(index=False, colalign=align, disable_numparse=True)
        notes = "  \n".join(self.notes)
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", self.name)
        (folder / f"{stem}.md").write_text(f"**{self.title}**\n\n{body}\n\n{notes}\n", encoding="utf-8")
        latex = self.frame.map(_latex).rename(columns=_latex)
        comments = "".join(f"% {line}\n" for line in [self.title, *self.notes, "needs the package booktabs"])
        text = comments + latex.to_latex(index=False, escape=False, column_format="".join(kinds))
        (folder / f"{stem}.tex").write_text(text, encoding="utf-8")
        self.values.to_csv(folder / f"{stem}.csv", index=False)


def _latex(text: str) -> str:
    for character in "&%$#_{}":
        text = text.replace(character, f"\\{character}")
    text = text.replace("±", r"$\pm$").replace("–", "--").replace("(-", "($-$")
    return re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", text)


def accuracy_text(mean: float, std: float, digits: int = 1) -> str:
    """`55.6 ± 1.2`, or the mean alone where there is one run."""
    return number_text(mean, digits) + ("" if pd.isna(std) else f" ± {std:.{digits}f}")


def number_text(value: float, digits: int = 1) -> str:
    return MISSING if pd.isna(value) else f"{value:.{digits}f}"


def cost_text(gmacs: float) -> str:
    """GMACs in three digits."""
    return MISSING if pd.isna(gmacs) else f"{gmacs:#.3g}".rstrip(".")


def arranged(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Rows in reading order: protocols, plug-ins, reducers and data sets as the paper has them, the rest by value."""

    def rank(column: pd.Series) -> pd.Series:
        order = {name: number for number, name in enumerate(ordered(column, ORDERS.get(column.name, ())))}
        return column.map(order) if column.name in ORDERS else column

    return frame.sort_values(names, key=rank, kind="stable")


def row_names(cells: pd.DataFrame, *names: str) -> list[str]:
    """The names, and `variant` too where cells have any."""
    return [*names, *(["variant"] if cells["variant"].any() else [])]


def titled(frame: pd.DataFrame) -> pd.DataFrame:
    """Texts under names for readers."""
    frame = frame.rename(columns=TITLES)
    frame.columns.name = None
    return frame.astype(object).astype(str)


def legend(cells: pd.DataFrame, metric: str) -> list[str]:
    """What the accuracies of a table are."""
    most = int(cells["n"].max())
    uneven = f"Seeds: {most}, or as in [ ]." if (cells["n"] < most).any() else f"Seeds: {most}."
    return [
        f"{metric.capitalize()} in percent, mean ± standard deviation (n - 1) over the seeds; {MISSING}: no run. "
        f"{uneven}"
    ]


def spread(cells: pd.DataFrame, rows: list[str], column: str, versus_base: bool = False) -> pd.DataFrame:
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
            text = f"**{cell.mean:.1f}**" + text.removeprefix(f"{cell.mean:.1f}")
        text += f" [{cell.n}]" if cell.n != most else ""
        text += f" ({cell.mean - base_mean:+.1f})" if versus_base and cell.plugins != "base" and base_mean > 0 else ""
        texts.append(text)
    wide = cells.assign(text=texts).set_index([*rows, column])["text"].unstack(column, sort=False)
    wide = wide.reindex(index=cells.set_index(rows).index.unique())
    return titled(wide[ordered(wide.columns, ORDERS.get(column, ()))].fillna(MISSING).reset_index())


def table1(cells: pd.DataFrame, metric: str, backbone: str = "") -> Table | None:
    """Table I: plug-ins by keep rate, a column for each data set, without reduction at the end.

    The reducer, backbone and size are the paper's if any run has them, else those with the most cells.

    Args:
        backbone: the one to show; None is returned where it has no cell.
    """
    pool = cells[cells["backbone"] == backbone] if backbone else cells
    if pool.empty:
        return None
    choice = {**TABLE1, "backbone": backbone or TABLE1["backbone"]}
    if not _matches(pool, choice).any():
        reduced = pool[pool["reducer"] != "none"]
        choice = dict(
            zip(TABLE1, (reduced if len(reduced) else pool)[list(TABLE1)].value_counts().index[0], strict=True)
        )
    chosen = pool[_matches(pool, choice) | _matches(pool, {**choice, "reducer": "none"})]
    rows = row_names(chosen, "reducer", "keep_rate", "plugins")
    frame = spread(chosen, rows, "dataset", versus_base=True)
    costs = chosen.groupby(rows)["gmacs"].mean()  # data sets differ by their classifiers alone
    if costs.notna().any():
        frame["GMACs"] = [
            cost_text(costs[row]) for row in frame.iloc[:, : len(rows)].itertuples(index=False, name=None)
        ]
    frame = pd.concat([frame[frame["reducer"] != "none"], frame[frame["reducer"] == "none"]])
    title = f"Table I: {choice['reducer']}, {choice['backbone']}, {choice['image_size']} px"
    notes = legend(chosen, metric)
    if chosen["plugins"].nunique() > 1:
        notes.append("Bold: the best of a keep rate. With a sign: difference to base in percentage points.")
    return Table("table1", title, frame, chosen, notes, len(rows), choice["backbone"])


def _matches(cells: pd.DataFrame, choice: dict) -> pd.Series:
    return (cells[list(choice)] == pd.Series(choice)).all(axis=1)


def by_axis(cells: pd.DataFrame, axis: str, column: str, metric: str) -> list[Table]:
    """A table for each value of `axis`, such as each backbone, with one column for each value of `column`."""
    tables = []
    for value in ordered(cells[axis], ORDERS.get(axis, ())):
        part = cells[cells[axis] == value]
        rows = row_names(part, "image_size", "reducer", "keep_rate", "plugins")
        name, title = f"{axis}_{value}", f"{TITLES.get(axis, axis).capitalize()} {value}"
        tables.append(Table(name, title, spread(part, rows, column), part, legend(part, metric), len(rows)))
    return tables


def all_cells(cells: pd.DataFrame, metric: str) -> Table:
    """Every cell with its cost."""
    cells = arranged(cells, CELL)
    names = row_names(cells, *CELL[:-1])
    frame = cells[[*names, "n"]].astype(str)
    frame["top-1 %"] = [accuracy_text(*pair, digits=2) for pair in zip(cells["mean"], cells["std"], strict=True)]
    frame["gmacs"] = [cost_text(value) for value in cells["gmacs"]]
    for name in ("params_m", "images_per_second", "train_minutes"):
        if cells[name].notna().any():
            frame[name] = [number_text(value) for value in cells[name]]
    note = f"{metric.capitalize()} in percent, mean ± standard deviation (n - 1) over the seeds."
    return Table("cells", f"{len(cells):,} cell{'s' * (len(cells) != 1)}", titled(frame), cells, [note], len(names))


def best_learning_rates(cells: pd.DataFrame, runs: pd.DataFrame, variants: dict[str, str]) -> Table | None:
    """Validation accuracy by learning rate, for cells that were trained at several; None if there are none."""
    others = runs["variant"].map(lambda letter: re.sub(r"optim\.lr=\S+ ?", "", variants.get(letter, "")).strip())
    runs = runs.assign(others=others)
    names = [*CELL[:-1], *(["others"] if others.any() else [])]
    means = runs.groupby([*names, "lr"])["top1"].agg(mean="mean", n="size").reset_index()
    means = means[means.groupby(names)["lr"].transform("size") > 1]
    if means.empty:
        return None
    best = means.loc[means.groupby(names)["mean"].idxmax(), [*names, "lr"]].rename(columns={"lr": "best"})
    means = arranged(means.merge(best, on=names), names)
    means["text"] = [f"**{row.mean:.1f}**" if row.lr == row.best else f"{row.mean:.1f}" for row in means.itertuples()]
    wide = means.pivot(index=[*names, "best"], columns="lr", values="text").fillna(MISSING)
    wide = arranged(wide.rename(columns="{:g}".format).reset_index(), names)
    wide.insert(len(names), "best rate", wide.pop("best").map("{:g}".format))
    notes = ["Validation top-1 in percent by learning rate, mean over the seeds; bold: the best of a row."]
    wide = wide.rename(columns={"others": "other settings"})
    return Table("best_lr", "Best learning rate on the validation images", titled(wide), means, notes, len(names) + 1)


def differences(runs: pd.DataFrame, metric: str, better: str = "clca", worse: str = "base") -> Table | None:
    """Paired differences of two plug-in settings by group; None where no run has a partner."""
    pairs, alone = pairs_of(runs, better, worse)
    if pairs.empty:
        return None
    rows = []
    for keys in (
        ["image_size", "reducer", "keep_rate"],
        ["image_size", "dataset"],
        ["image_size", "backbone"],
        ["image_size"],
    ):
        for values, group in arranged(pairs, keys).groupby(keys, sort=False):
            rows.append({"by": " ".join(keys), **dict(zip(keys, values, strict=True)), **summary(group)})
    values = pd.DataFrame(rows)
    names = ["image_size", "reducer", "keep_rate", "dataset", "backbone"]
    frame = values[names].astype(object).where(values[names].notna(), "all")
    frame["units"] = [f"{row.units} {row.of if row.units != 1 else row.of[:-1]}" for row in values.itertuples()]
    frame["difference"] = [f"{mean:+.1f}" for mean in values["mean"]]
    frame[f"{LEVEL} % interval"] = [
        MISSING if pd.isna(row.low) else f"{row.low:+.1f} to {row.high:+.1f}" for row in values.itertuples()
    ]
    frame[["wins", "ties", "losses"]] = values[["wins", "ties", "losses"]]
    notes = [
        f"Percentage points of {metric}, {better} minus {worse}, over runs of the same cell and seed; {alone} runs "
        "without "
        "a partner are left out. A unit is a cell with its seeds averaged, or a seed where there is one cell. "
        "Interval: "
        f"{RESAMPLES:,} bootstrap resamples of the units. A win is a unit with a difference above 0."
    ]
    return Table("differences", f"{better.upper()} minus {worse}", titled(frame), values, notes, len(names))


def beside_paper(cells: pd.DataFrame, paper: pd.DataFrame, source: str) -> Table | None:
    """Ours and the paper's, every cell that either has on the data sets of both; those of the paper alone come last."""
    cells, paper = (one[one["dataset"].isin(other["dataset"])] for one, other in ((cells, paper), (paper, cells)))
    if cells.empty:
        return None
    both = cells.merge(paper, on=CELL, how="outer", suffixes=("", "_paper"))
    both["difference"] = both["mean"] - both["mean_paper"]
    both = arranged(both, CELL)
    ours, theirs = both["mean"].notna(), both["mean_paper"].notna()
    both = pd.concat([both[ours], both[~ours]])
    names = row_names(both, *CELL[:-1])
    frame = both[names].astype(str)
    frame["ours"] = [accuracy_text(*pair) for pair in zip(both["mean"], both["std"], strict=True)]
    frame["paper"] = [accuracy_text(*pair) for pair in zip(both["mean_paper"], both["std_paper"], strict=True)]
    frame["difference"] = [MISSING if pd.isna(value) else f"{value:+.1f}" for value in both["difference"]]
    frame["GMACs"] = [cost_text(value) for value in both["gmacs"]]
    frame["paper GMACs"] = [cost_text(value) for value in both["gmacs_paper"]]
    notes = [
        f"Test top-1 in percent. {(ours & theirs).sum():,} cells in both, {(ours & ~theirs).sum():,} of ours alone, "
        f"{(~ours & theirs).sum():,} of the paper's alone ({MISSING}: no run).",
        f"Paper: {source}",
    ]
    values = both[
        [*CELL, "n", "mean", "std", "gmacs", "n_paper", "mean_paper", "std_paper", "gmacs_paper", "difference"]
    ]
    return Table("comparison", "Ours beside the paper", titled(frame), values, notes, len(names))


def missing_table(missing: pd.DataFrame) -> Table | None:
    """Runs that were planned or begun and are not finished."""
    if missing.empty:
        return None
    names = ["protocol", *CELL[:-1]]
    missing = arranged(missing, names)
    count = int(missing["absent"].sum())
    title = f"{count:,} missing run{'s' * (count != 1)} in {len(missing):,} cell{'s' * (len(missing) != 1)}"
    return Table("missing", title, titled(missing), missing, [], len(names))


def limited_table(runs: pd.DataFrame) -> Table | None:
    """Debug runs and runs on a part of the data, which enter nothing else."""
    limited = arranged(runs[runs["limited"]], ["protocol", *CELL, "seed"])
    if limited.empty:
        return None
    frame = limited[["run", "protocol", *CELL[:-1], "seed"]].astype(object).astype(str)
    for name in ("test_top1", "val_top1"):
        if limited[name].notna().any():
            frame[name.replace("_top1", " top-1 %")] = limited[name].map(number_text)
    note = "Runs with debug= or trainer.limit_* on a part of the data. They enter no other table and no figure."
    return Table("limited", "Limited and debug runs", titled(frame), limited, [note], 9)


def variant_table(variants: dict[str, str]) -> Table | None:
    """What the letters of variants stand for."""
    if not variants:
        return None
    frame = pd.DataFrame({"variant": list(variants), "settings": list(variants.values())})
    note = "Runs of one cell that differ in a setting which no column shows are no seeds of each other."
    return Table("variants", "Variants", frame, frame, [note], 2)
