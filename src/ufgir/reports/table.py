"""A table in all its forms: Markdown, CSV, LaTeX and HTML."""

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import pandas as pd


@dataclass
class Table:
    """A table to be read, and the numbers behind it.

    Attributes:
        name: of its files.
        title: what it shows, in one line.
        frame: texts as they are read; the first `heads` columns name the row.
        values: numbers for the CSV, one row for each cell.
        notes: sentences below it.
        heads: columns that name a row.
    """

    name: str
    title: str
    frame: pd.DataFrame
    values: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    heads: int = 1

    def write(self, folder: Path) -> None:
        """Write `<name>.md`, `.csv` and `.tex` into a folder."""
        (folder / f"{self.name}.md").write_text(self.markdown(), encoding="utf-8")
        (folder / f"{self.name}.tex").write_text(self.latex(), encoding="utf-8")
        self.values.to_csv(folder / f"{self.name}.csv", index=False)

    def markdown(self) -> str:
        """Title, table and notes."""
        rows = [list(self.frame.columns), ["---"] * self.heads + ["---:"] * (self.frame.shape[1] - self.heads)]
        rows += self.frame.to_numpy().tolist()
        lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
        return "\n".join([f"**{self.title}**", "", *lines, "", *(f"{note}  " for note in self.notes)]).rstrip() + "\n"

    def latex(self) -> str:
        """A `tabular` with booktabs rules; its title and notes are comments."""
        form = "l" * self.heads + "r" * (self.frame.shape[1] - self.heads)
        rows = [" & ".join(_latex(str(cell)) for cell in row) + r" \\" for row in self.frame.to_numpy()]
        head = " & ".join(_latex(name) for name in self.frame.columns) + r" \\"
        lines = [f"% {self.title}", *(f"% {note}" for note in self.notes), "% needs the package booktabs"]
        lines += [rf"\begin{{tabular}}{{{form}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule"]
        return "\n".join([*lines, r"\end{tabular}"]) + "\n"

    def html(self) -> str:
        """A figure with caption that scrolls in its own box."""
        kinds = [""] * self.heads + [" class=n"] * (self.frame.shape[1] - self.heads)  # n: numbers, to the right
        names = zip(self.frame.columns, kinds, strict=True)
        head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in names)
        rows = [
            "<tr>" + "".join(_cell(str(cell), column < self.heads) for column, cell in enumerate(row)) + "</tr>"
            for row in self.frame.to_numpy()
        ]
        notes = "".join(f"<p class=note>{escape(note)}</p>" for note in self.notes)
        label = escape(self.title, quote=True)
        return (
            f'<div class=box tabindex=0 role=region aria-label="{label}"><table><caption>{escape(self.title)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(rows) + f"\n</tbody></table></div>{notes}"
        )


def _cell(text: str, is_head: bool) -> str:
    return f'<th scope="row">{escape(text)}</th>' if is_head else f"<td>{escape(text)}</td>"


def _latex(text: str) -> str:
    """Text with what LaTeX would take as its own escaped."""
    for character in "&%$#_{}":
        text = text.replace(character, f"\\{character}")
    return text.replace("±", r"$\pm$").replace("–", "--")
