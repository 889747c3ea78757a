"""The README and the other pages, taken apart: what they show as code, and every command line in it."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "sweeps" / "README.md"]
LANGUAGES = {"python", "yaml", "text"}  # of fenced blocks; commands are indented and have none
INLINE = re.compile(r"`((?:python -m|make|pip install|wandb|hf|ray) [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A block of code: its language (`command` for an indented line), first line, content and what introduces it."""

    page: Path
    language: str
    line: int
    text: str
    before: str


@dataclass(frozen=True)
class Command:
    """A command line, in words, without comments and variables that it sets for itself."""

    page: Path
    line: int
    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}: {shlex.join(self.words)}"


def blocks(page: Path, content: str | None = None) -> Iterator[Block]:
    """All blocks of a page, in order."""
    language, start, inside, paragraph, was_text = "", 0, [], "", False
    for number, line in enumerate((page.read_text() if content is None else content).splitlines(), start=1):
        if line.startswith("```"):
            if language:
                yield Block(page, language, start, "\n".join(inside) + "\n", paragraph)
                language, inside = "", []
            else:
                language, start = line[3:] or "unnamed", number
        elif language:
            inside.append(line)
        elif line.startswith("    "):
            yield Block(page, "command", number, line.strip(), paragraph)
        elif line.strip():
            paragraph = f"{paragraph}\n{line}" if was_text else line
        was_text = bool(line.strip()) and not language and not line.startswith(("```", "    "))


def commands(page: Path, content: str | None = None) -> Iterator[Command]:
    """Every command that a page shows, in a block or within a sentence; `a && b` are two."""
    content = page.read_text() if content is None else content
    shown = [(block.line, block.text) for block in blocks(page, content) if block.language == "command"]
    prose = re.sub(r"^(```.*?^```|    .*?$)", lambda match: re.sub(".", "", match[0]), content, flags=re.M | re.S)
    shown += [(prose[: found.start()].count("\n") + 1, found[1]) for found in INLINE.finditer(prose)]
    for line, text in sorted(shown):
        for part in text.split(" && "):
            yield _command(page, line, part)


def _command(page: Path, line: int, text: str) -> Command:
    if re.match(r"\w+=\$\(", text):  # a variable of the shell
        return Command(page, line, ("bash", "-c", text.partition("  #")[0].strip()))
    words, variables = shlex.split(text, comments=True), []
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        variables.append(tuple(words.pop(0).split("=", 1)))
    return Command(page, line, tuple(words), tuple(variables))


def own_files() -> dict[str, str]:
    """The files of someone's own that the pages show: path below `mine/` -> content."""
    found = {}
    for block in (block for page in PAGES for block in blocks(page) if block.language in ("python", "yaml")):
        if named := re.findall(r"`mine/(\S+\.(?:py|yaml))`", block.before):
            found[named[-1]] = block.text
    return found


def anchors(page: Path) -> set[str]:
    """The targets of links to a page's headings."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
