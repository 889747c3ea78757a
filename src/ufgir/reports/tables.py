"""The tables of a report."""

import pandas as pd

from ufgir.reports.cells import accuracy_text, cost_text, number_text
from ufgir.reports.layout import CELL, DATASETS, MISSING, PLUGINS, REDUCERS, TITLES, ordered
from ufgir.reports.table import Table

ORDERS = {"plugins": PLUGINS, "reducer": REDUCERS, "dataset": DATASETS}
TABLE1 = {"reducer": "evit", "backbone": "deit3_b", "image_size": 448}  # the paper's
LEGEND = f"Test top-1 in percent, mean ± standard deviation (n - 1) over the seeds; {MISSING}: no run."


def arranged(cells: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Rows in reading order: plug-ins, reducers and data sets as the paper has them, the rest by value."""

    def rank(column: pd.Series) -> pd.Series:
        if column.name not in ORDERS:
            return column
        order = {name: number for number, name in enumerate(ordered(column, ORDERS[column.name]))}
        return column.map(order)

    return cells.sort_values(names, key=rank, kind="stable")


def row_names(cells: pd.DataFrame, *names: str) -> list[str]:
    """The names, and `variant` too where cells have any."""
    return [*names, *(["variant"] if cells["variant"].any() else [])]


def spread(cells: pd.DataFrame, rows: list[str], column: str) -> tuple[pd.DataFrame, list[str]]:
    """Accuracies with one column for each value of `column`; combinations without a run show as missing.

    Returns:
        texts, the row names first; and a note on cells with fewer seeds than the others, if there are any.
    """
    most = int(cells["n"].max())
    cells = arranged(cells, [*rows, column])
    texts = [
        accuracy_text(cell.mean, cell.std) + ("" if cell.n == most else f" ({cell.n})")
        for cell in cells[["mean", "std", "n"]].itertuples(index=False)
    ]
    wide = cells.assign(text=texts).set_index([*rows, column])["text"].unstack(column, sort=False)
    wide = wide.reindex(index=cells.set_index(rows).index.unique())
    wide = wide[ordered(wide.columns, ORDERS.get(column, ()))].fillna(MISSING)
    is_uneven = (cells["n"] < most).any()
    notes = [f"{most} seeds; (n) marks a cell with n." if is_uneven else f"Seeds per cell: {most}."]
    return titled(wide.reset_index()), [LEGEND, *notes]


def titled(frame: pd.DataFrame) -> pd.DataFrame:
    """Texts under names for readers."""
    frame = frame.rename(columns={name: TITLES.get(name, name) for name in frame.columns})
    frame.columns.name = None
    return frame.astype(str)


def table1(cells: pd.DataFrame) -> Table:
    """Table I: plug-ins by keep rate, a column for each data set, without reduction at the end.

    The reducer, backbone and size are the paper's if any run has them, else those with most cells.
    """
    choice = TABLE1
    if not _matches(cells, TABLE1).any():
        reduced = cells[cells["reducer"] != "none"]
        choice = (reduced if len(reduced) else cells)[list(TABLE1)].value_counts().index[0]
        choice = dict(zip(TABLE1, choice, strict=True))
    chosen = cells[_matches(cells, choice) | _matches(cells, {**choice, "reducer": "none"})]
    rows = row_names(chosen, "reducer", "keep_rate", "plugins")
    frame, notes = spread(chosen, rows, "dataset")
    costs = chosen.groupby(rows)["gmacs"].mean()  # data sets differ by their classifiers alone
    frame["GMACs"] = [cost_text(costs[row]) for row in frame.iloc[:, : len(rows)].itertuples(index=False, name=None)]
    frame = pd.concat([frame[frame["reducer"] != "none"], frame[frame["reducer"] == "none"]])
    title = f"Table I: {choice['reducer']}, {choice['backbone']}, {choice['image_size']} px"
    return Table("table1", title, frame, chosen, notes, len(rows))


def _matches(cells: pd.DataFrame, choice: dict) -> pd.Series:
    return (cells[list(choice)] == pd.Series(choice)).all(axis=1)


def by_axis(cells: pd.DataFrame, axis: str, column: str) -> list[Table]:
    """A table for each value of `axis`, such as each backbone, with one column for each value of `column`."""
    tables = []
    for value in ordered(cells[axis], ORDERS.get(axis, ())):
        part = cells[cells[axis] == value]
        rows = row_names(part, "image_size", "reducer", "keep_rate", "plugins")
        frame, notes = spread(part, rows, column)
        title = f"{TITLES.get(axis, axis).capitalize()} {value}"
        tables.append(Table(f"{axis}_{_file(value)}", title, frame, part, notes, len(rows)))
    return tables


def all_cells(cells: pd.DataFrame, digits: int = 2) -> Table:
    """Every cell with its cost."""
    cells = arranged(cells, list(CELL))
    names = row_names(cells, *CELL[:-1])
    frame = cells[names].astype(str)
    frame["n"] = cells["n"]
    figures = zip(cells["mean"], cells["std"], strict=True)
    frame["test_top1"] = [accuracy_text(mean, std, digits) for mean, std in figures]
    frame["gmacs"] = [cost_text(value) for value in cells["gmacs"]]
    for name in ("params_m", "images_per_second", "train_minutes"):
        if cells[name].notna().any():
            frame[name] = [number_text(value, digits) for value in cells[name]]
    frame = titled(frame.rename(columns={"train_minutes": "minutes"}))
    return Table("cells", f"All {len(cells):,} cells", frame, cells, [LEGEND], len(names))


def missing_cells(cells: pd.DataFrame) -> Table | None:
    """Cells that one would expect from the others of their data set and size; None if there is no gap.

    Expected of each backbone are the settings that another backbone has, and each plug-in setting with each reducer
    and keep rate; a plug-in setting that fewer than half of these have was not meant for all.
    """
    place, rate = ["dataset", "image_size"], ["reducer", "keep_rate"]
    settings, rates = (cells[names].drop_duplicates() for names in ([*place, *rate, "plugins"], [*place, *rate]))
    share = settings.groupby([*place, "plugins"]).size() / rates.groupby(place).size()
    common = share[share >= 0.5].reset_index()[[*place, "plugins"]]
    everywhere = rates.merge(common, on=place)
    expected = pd.concat([settings, everywhere]).drop_duplicates()
    expected = expected.merge(cells[[*place, "backbone"]].drop_duplicates(), on=place)
    names = [name for name in CELL if name != "variant"]
    found = expected.merge(cells[names].drop_duplicates(), how="left", indicator=True)
    missing = arranged(found.loc[found["_merge"] == "left_only", names], names)
    if missing.empty:
        return None
    title = f"{len(missing):,} cells without a run, where others of the same data set and image size have one"
    return Table("missing", title, titled(missing), missing, [], len(names))


def _file(value: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in str(value))
