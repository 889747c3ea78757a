"""The page: one HTML file that needs no other and asks no server."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ufgir.reports.drawing import Picture
from ufgir.reports.table import Table

GENERATOR = '<meta name="generator" content="ufgir.report">'
STYLE = Path(__file__).parent / "data" / "page.css"


@dataclass
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        parts: tables and figures; None where the runs do not give one.
        otherwise: what to say where there is none, a paragraph for each line.
        folded: show each table's title only, until it is opened.
    """

    title: str
    parts: Sequence[Table | Picture | None]
    otherwise: str = ""
    folded: bool = False

    @property
    def anchor(self) -> str:
        return self.title.lower().replace(" ", "-")

    def html(self) -> str:
        """Heading and parts."""
        shown = [part_html(part, self) for part in self.parts if part is not None]
        shown = shown or [f"<p>{escape(line)}</p>" for line in self.otherwise.splitlines()]
        return f'<section id="{self.anchor}"><h2>{escape(self.title)}</h2>\n' + "\n".join(shown) + "\n</section>"


def page(title: str, lead: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole page.

    Args:
        title: its heading.
        lead: paragraphs before the first section.
    """
    contents = "".join(f'<li><a href="#{part.anchor}">{escape(part.title)}</a></li>' for part in sections)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            GENERATOR,
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE.read_text(encoding='utf-8')}</style></head><body>",
            f"<header><h1>{escape(title)}</h1>",
            *(f"<p>{escape(text)}</p>" for text in lead),
            f'<nav aria-label="Contents"><ul>{contents}</ul></nav></header><main>',
            *(part.html() for part in sections),
            "</main></body></html>\n",
        ]
    )


def part_html(part: Table | Picture, section: Section) -> str:
    """A table or a figure; figures come in two widths, and the browser takes the one that fits."""
    if isinstance(part, Table):
        table = part.html()
        return f"<details><summary>{escape(part.title)}</summary>{table}</details>" if section.folded else table
    heading = "" if part.title == section.title else f"<h3>{escape(part.title)}</h3>"
    return (
        f'<figure id="figure-{part.name}">{heading}<picture>'
        f'<source media="(max-width: 700px)" srcset="{_inline(part.narrow_svg)}">'
        f'<img src="{_inline(part.svg)}" alt="{escape(part.title, quote=True)}. {escape(part.caption, quote=True)}">'
        f"</picture><figcaption>{escape(part.caption)}</figcaption></figure>"
    )


def _inline(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
