"""One page per paper: its idea and equations as written in site/papers/, everything else from its modules.

Systems, options, settings, published tables and their errors are read from dsnotes/papers/, measurements from
benchmarks/results/, the notebook's findings from the notebook: nothing is written twice.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from types import ModuleType

from book import measured
from book.links import Links
from dsnotes.networks import __path__ as networks
from dsnotes.papers import __path__ as papers
from dsnotes.papers.recipe import Table, short
from dsnotes.runs.paper_tables import published
from dsnotes.runs.size import size

SIZES = {"patch", "spacing", "halvings", "norm"}  # options that make a system smaller, not another


def stems() -> list[str]:
    """A paper is a stem with a file in papers/ and one in networks/, in the order of its notebook."""
    here = {path.stem for path in Path(papers[0]).glob("*.py")} & {path.stem for path in Path(networks[0]).glob("*.py")}
    notebooks = Path(papers[0]).parents[1] / "notebooks"
    return sorted(here - {"__init__"}, key=lambda stem: min([p.name for p in notebooks.glob(f"*_{stem}.py")] or ["~"]))


class Paper:
    """Everything that the repository has on one paper."""

    def __init__(self, stem: str, repository: Path) -> None:
        self.stem, self.repository = stem, repository
        self.module: ModuleType = import_module(f"dsnotes.papers.{stem}")
        self.source = Path(self.module.__file__).read_text(encoding="utf-8")
        first, _, rest = inspect.getdoc(self.module).partition("\n")
        self.name, _, self.idea = first.rstrip(".").partition(": ")
        self.about = rest.strip()
        self.notebooks = sorted(repository.glob(f"notebooks/[0-9]*_{stem}.ipynb"))
        self.picture = repository / "assets" / "supervision_diagrams" / f"{stem}.png"

    def written(self) -> str:
        """The text on idea and equations in site/papers/, if there is one."""
        file = self.repository / "site" / "papers" / f"{self.stem}.md"
        return file.read_text(encoding="utf-8").strip() if file.exists() else ""

    def page(self, results: list[measured.Measurement], links: Links) -> str:
        parts = [
            f"# {self.name}",
            f"*{self.idea[:1].upper()}{self.idea[1:]}.*",
            self.about,
            self.figure(),
            self.written(),
            "## Systems",
            self.systems(),
            "## Settings",
            self.settings(),
            "## Published tables, and our results",
            self.tables(results),
            *self.here(results),
            *self.found(links),
            "## Read on",
            self.further(),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def figure(self) -> str:
        if not self.picture.exists():
            return ""
        words = said_by(self.picture)
        caption = (
            "Where the supervision is. The U has the channels and strides of the paper's size; filled boxes have a "
            "target. The pictures are of the same system, eight channels wide, after a short training on phantoms "
            "([assets/supervision_diagrams.py](../assets/supervision_diagrams.py))."
        )
        return f":::{{figure}} ../assets/supervision_diagrams/{self.stem}.png\n:alt: {words}\n\n{caption}\n:::"

    def systems(self) -> str:
        lines = ["| system | parameters | size | rows of tables |", "|:--|--:|:--|:--|"]
        takes: dict[tuple, list[str]] = {}
        for name, recipe in self.module.SYSTEMS.items():
            where = ", ".join(table for table in recipe.tables if table.rpartition("-")[0] == short(self.stem)) or "–"
            lines.append(f"| `{name}` | {size(name)[0]:,} | {recipe.dims}-D, {recipe.width} wide | {where} |")
            takes.setdefault(tuple(recipe.options.items()), []).append(f"`{name}`")
        name = next(iter(self.module.SYSTEMS))
        parts = [f'```python\nimport dsnotes\n\nsystem = dsnotes.build("{name}", in_channels=1, classes=2)\n```']
        parts.append(captioned("Systems of this paper, at its own size", "\n".join(lines)))
        for options, names in takes.items():
            if options:
                listed = "\n".join(f"- `{option}`: {escaped(what)}" for option, what in options)
                parts.append(f"Options of {', '.join(names)}:\n\n{listed}")
        return "\n\n".join(parts)

    def settings(self) -> str:
        """The settings that differ from the library's defaults, with their comments in the source."""
        parts = []
        for name in [n for n in vars(self.module) if n == "PREPROCESS" or n.endswith("SETTINGS")]:
            value = getattr(self.module, name)
            comments, lines = comments_of(type(value)), []
            for each in fields(value):
                default = each.default if each.default is not MISSING else None
                if (chosen := getattr(value, each.name)) != default:
                    lines.append(
                        f"| `{each.name}` | `{chosen!r}` | `{default!r}` | {escaped(comments.get(each.name, ''))} |"
                    )
            head = "| setting | this paper | default | what it is |\n|:--|:--|:--|:--|"
            note = " ".join(re.findall(r"^# (.*)$", above(self.source, f"{name} ="), flags=re.M))
            parts += [escaped(note), captioned(f"`{self.stem}.{name}`", "\n".join([head, *lines]))]
        return "\n\n".join(part for part in parts if part)

    def tables(self, results: list[measured.Measurement]) -> str:
        parts = []
        for number, table in self.module.TABLES.items():
            name = f"{short(self.stem)}-{number}"
            parts += [f"### Table {number}", printed(table, name, results)]
            if table.slips:
                parts += ["Errors in the published table:\n", "\n".join(f"- {escaped(slip)}" for slip in table.slips)]
            if table.unfilled:
                why: dict[str, list[str]] = {}
                for row, reason in table.unfilled.items():
                    why.setdefault(reason, []).append(row)
                said = [f"- {reason}: {', '.join(of)}" for reason, of in why.items()]
                parts += ["Rows that no system fills:\n", escaped("\n".join(said))]
        return "\n\n".join(parts)

    def here(self, results: list[measured.Measurement]) -> list[str]:
        """The committed measurements of this paper's systems, or a statement that there are none."""
        own = [m for m in results if {row.system for row in m.rows} & set(self.module.SYSTEMS)]
        intro = (
            "Other images, other budgets, narrower networks: these say whether the systems train and how they compare "
            "with "
            "each other, not whether the paper is right."
            if own
            else f"None of this paper's systems has a committed measurement yet. `dsnotes sweep` and "
            f"`dsnotes table {short(self.stem)}-…` make one."
        )
        parts = ["## Measured here", intro]
        for m in own:
            title = measured.spoken(m.title)
            parts += [f"### [{title}](../benchmarks/results/{m.path.name})", scrolling(m.body, title)]
        return parts

    def found(self, links: Links) -> list[str]:
        """The notebook's last section: what it showed, and what it did not."""
        parts = []
        for notebook in self.notebooks:
            if words := last_words(notebook.with_suffix(".py").read_text(encoding="utf-8")):
                words = links.settled(words, written_in=f"notebooks/{notebook.name}", shown_at=f"papers/{self.stem}.md")
                of = f"[{notebook.stem}](../notebooks/{notebook.name}):"
                parts += ["## What the notebook saw, and what it did not", of, words]
        return parts

    def further(self) -> str:
        lines = [f"- the notebook [{n.stem}](../notebooks/{n.name}), executed" for n in self.notebooks]
        sweeps = sorted(p.name for p in (self.repository / "sweeps").glob(f"{short(self.stem)}-*.yml"))
        if sweeps:
            lines.append("- its tables as sweeps: " + ", ".join(f"[{name}](../sweeps/{name})" for name in sweeps))
        lines.append(f"- `dsnotes.papers.{self.stem}` and its floors in [the library](../library/index.md)")
        return "\n".join(lines)


def printed(table: Table, name: str, results: list[measured.Measurement]) -> str:
    """The published table, with a column for each of our measurements of the same systems."""
    fillers = published(name).fillers
    beside = [(m, cells) for m in results if any((cells := ours(m, fillers)).values())]
    head = ["row", *table.columns, *(f"here, {measured.spoken(m.title)}" for m, _ in beside)]
    lines = [head, [":--", *["--:"] * (len(head) - 1)]]
    decimals = [max(map(places, column)) for column in zip(*table.rows.values(), strict=False)]
    for row, values in table.rows.items():
        cells = [number(value, digits) for value, digits in zip(values, decimals, strict=False)]
        shown = f"`{row}`" if row in fillers else escaped(row)
        extra = [cells_of.get(row) or "–" for _, cells_of in beside]
        lines.append([shown + (" ★" if row == table.starred else ""), *cells, *extra])
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    star = f" ★ {table.starred}: the others are tested against it." if table.starred else ""
    note = " The columns “here” have other images and budgets: compare only their rows." if beside else ""
    return captioned(f"`{name}`, as printed. {escaped(table.caption)}{star}{note}", text)


def ours(m: measured.Measurement, fillers: dict) -> dict[str, str]:
    """Row -> the score measured for exactly its system."""
    found = {}
    for row, filler in fillers.items():
        for each in m.rows:
            options = {name: value for name, value in each.options.items() if name not in SIZES}
            if each.system == filler.system and options == dict(filler.options) and each.score:
                found[row] = each.score
    return found


def places(value: object) -> int:
    """Decimals of a number as in its paper's file."""
    return len(str(value).partition(".")[2]) if isinstance(value, float) and "e" not in str(value) else 0


def number(value: object, digits: int = 0) -> str:
    """A cell, with the trailing zeros that the paper prints and a Python number loses."""
    if value is None:
        return ""
    if isinstance(value, float) and digits:
        return f"{value:.{digits}f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return " × ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def captioned(caption: str, table: str) -> str:
    return f":::{{table}} {caption}\n\n{table}\n:::"


def scrolling(body: str, title: str) -> str:
    """Every table of a result with a caption, for readers who jump from table to table."""
    return re.sub(r"(?:^\|.*(?:\n|\Z))+", lambda found: captioned(title, found[0].strip()) + "\n", body, flags=re.M)


def escaped(text: str) -> str:
    """Text with bars and asterisks escaped for a Markdown table."""
    return re.sub(r"([|*_<>$])", r"\\\1", text)


def comments_of(kind: type) -> dict[str, str]:
    """Field -> the comment after it."""
    return dict(re.findall(r"^    (\w+): [^#\n]*  # (.+)$", inspect.getsource(kind), flags=re.M))


def above(source: str, start: str) -> str:
    """The comment lines directly above a line."""
    found = re.search(rf"((?:^# .*\n)+)^{re.escape(start)}", source, flags=re.M)
    return found[1] if found else ""


def said_by(picture: Path) -> str:
    """The description that the drawing script has stored in a PNG."""
    from PIL import Image

    with Image.open(picture) as opened:
        return opened.text["Description"].replace("\n", " ")


def last_words(notebook: str) -> str:
    """The section "What we saw, and what we did not" of a notebook's .py."""
    lines = [line[2:] if line.startswith("# ") else line.lstrip("#") for line in notebook.splitlines()]
    found = re.search(
        r"^## What we saw, and what we did not$\n(.*?)(?=^## |^ ?%%|\Z)", "\n".join(lines), flags=re.M | re.S
    )
    return found[1].strip() if found else ""
