"""Writes the source that Sphinx reads, anew for every build; expensive parts are cached between builds by hash."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from book import fidelity, house, measured, pages, papers, reference
from book.executed import Copy, copy_of, library
from book.links import Links, section

README_PARTS = {"start.md": ("Start", ["Start"]), "experiments.md": ("Experiments", ["Experiments"])}
PROSE = {  # file in the repository -> page
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks/README.md",
    "data_scripts/README.md": "data_scripts/README.md",
    "notebooks/labs/README.md": "notebooks/labs/README.md",
    "site/pages/bring_your_own.md": "bring_your_own.md",
    "site/pages/glossary.md": "glossary.md",
    "site/pages/verdict.md": "verdict.md",
}


class Book:
    """One build: `lay_out` writes the source and returns how many notebooks it executed."""

    def __init__(
        self,
        repository: Path,
        work: Path,
        *,
        smoke: bool = False,
        stale: bool = False,
        only: list[str] | None = None,
        jobs: int = 1,
        tell: Callable[[str], object] = print,
    ) -> None:
        self.repository, self.work, self.source = repository, work, work / "source"
        self.smoke, self.stale, self.jobs, self.tell = smoke, stale, jobs, tell
        every = sorted(repository.glob("notebooks/[0-9]*.py"))
        self.notebooks = [p for p in every if only is None or p.stem in only]
        self.labs = sorted(repository.glob("notebooks/labs/lab*.py"))
        self.papers = [papers.Paper(stem, repository) for stem in papers.stems()]
        self.results = measured.measurements(repository / "benchmarks" / "results")
        self.links = Links(repository, self.source, self.known(every))
        self.home = work / "executed" / library(repository / "dsnotes")
        self.words: dict[str, str] = {}

    def known(self, notebooks: list[Path]) -> dict[str, str]:
        """Every page by the path that links in the repository use for it."""
        named = {f"notebooks/{p.stem}.ipynb": f"notebooks/{p.stem}.ipynb" for p in notebooks}
        named |= {f"notebooks/labs/{p.stem}.ipynb": f"notebooks/labs/{p.stem}.ipynb" for p in self.labs}
        named |= {f"benchmarks/results/{m.path.name}": f"benchmarks/results/{m.path.name}" for m in self.results}
        named |= {f"papers/{p.stem}.md": f"papers/{p.stem}.md" for p in self.papers}
        named |= {"README.md": "index.md", "library/index.md": "library/index.rst"}
        return named | PROSE | {page: page for page in (*README_PARTS, *PROSE.values())}

    def lay_out(self) -> int:
        self.source.mkdir(parents=True, exist_ok=True)
        copies = self.executed()
        self.write_notebooks(copies)
        self.write_labs()
        self.write_prose()
        self.write_papers()
        self.write_measurements()
        self.write_house()
        for path, text in reference.pages(house.order(self.repository)).items():
            self.write(path, text)
        self.write_front()
        self.write("pictures.json", json.dumps(self.words, indent=0))
        self.links.sweep()
        return sum(copy.fresh for copy in copies)

    def write(self, path: str, text: str) -> None:
        self.links.lay(path, text.encode())

    def executed(self) -> list[Copy]:
        """Execute several at once, each with its share of the cores; the last take longest, so they start first."""
        threads = max(1, (os.cpu_count() or 1) // self.jobs)

        def one(path: Path) -> Copy:
            def told(line: str) -> None:
                self.tell(f"{path.stem}  {line}")

            return copy_of(path, home=self.home, smoke=self.smoke, stale=self.stale, tell=told, threads=threads)

        with ThreadPoolExecutor(self.jobs) as pool:
            return list(pool.map(one, self.notebooks[::-1]))[::-1]

    def write_notebooks(self, copies: list[Copy]) -> None:
        for copy in copies:
            name = f"notebooks/{copy.source.name}.ipynb"
            shown, words = pages.page(copy, clean=f"../clean/{copy.source.name}.ipynb", smoke=self.smoke)
            self.words |= words
            self.settle(shown, name)
            self.write(name, json.dumps(shown))
            self.write(f"clean/{copy.source.name}.ipynb", pages.clean_copy(copy.source.path))

    def settle(self, notebook: dict, name: str) -> None:
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = self.links.settled("".join(cell["source"]), written_in=name, shown_at=name)

    def write_labs(self) -> None:
        """The students' versions, built by `dsnotes labs build`; kept until a lab or the builder changes."""
        made = self.work / "labs" / self.labs_now()
        if not (made / "dsnotes-labs.zip").exists():
            from dsnotes.cli import main as dsnotes

            self.tell(f"dsnotes labs build --out {made}")
            with contextlib.redirect_stdout(io.StringIO()) as said:
                code = dsnotes(
                    ["labs", "build", "--source", str(self.repository / "notebooks/labs"), "--out", str(made)]
                )
            if code:
                raise RuntimeError(f"the labs could not be built:\n{said.getvalue()}")
        for lab in self.labs:
            name = f"notebooks/labs/{lab.stem}.ipynb"
            notebook = json.loads((made / f"{lab.stem}.ipynb").read_text(encoding="utf-8"))
            first, *rest = "".join(notebook["cells"][0]["source"]).split("\n", 1)
            offer = (
                f"{{download}}`Download it <../../clean/{lab.stem}.ipynb>`: the students' version, without solutions."
            )
            notebook["cells"][0]["source"] = "\n".join(
                [first, "", f":::{{container}} provenance\n{offer}\n:::", "", *rest]
            )
            self.settle(notebook, name)
            self.write(name, json.dumps(notebook))
            self.links.lay(f"clean/{lab.stem}.ipynb", (made / f"{lab.stem}.ipynb").read_bytes())

    def labs_now(self) -> str:
        found = hashlib.sha256()
        for path in [*self.labs, *sorted((self.repository / "dsnotes" / "labs").glob("*.py"))]:
            found.update(path.read_bytes())
        return found.hexdigest()[:12]

    def write_prose(self) -> None:
        readme = (self.repository / "README.md").read_text(encoding="utf-8")
        for page, (title, parts) in README_PARTS.items():
            text = "\n\n".join(
                (f"## {part}\n\n" if len(parts) > 1 else "") + section(readme, part) for part in parts
            )  # fmt: skip
            self.write(page, f"# {title}\n\n" + self.links.settled(text, written_in="README.md", shown_at=page))
        for file, page in PROSE.items():
            text = (self.repository / file).read_text(encoding="utf-8")
            more = "\n\n" + self.contents(page) if self.contents(page) else ""
            self.write(page, self.links.settled(text, written_in=file, shown_at=page) + more)

    def contents(self, page: str) -> str:
        """The table of contents below a page."""
        below = {
            "notebooks/labs/README.md": [lab.stem for lab in self.labs],
            "benchmarks/README.md": ["machines", *(f"results/{m.path.stem}" for m in self.results)],
        }.get(page, [])
        return toctree(below) if below else ""

    def write_papers(self) -> None:
        for paper in self.papers:
            name = f"papers/{paper.stem}.md"
            text = paper.page(self.results, self.links)
            if paper.picture.exists():
                self.links.keep(f"assets/supervision_diagrams/{paper.stem}.png")
            below = "\n" + toctree([f"{paper.stem}_fidelity"])
            self.write(name, self.links.settled(text, written_in=name, shown_at=name) + below)
            name = f"papers/{paper.stem}_fidelity.md"
            text = fidelity.page(paper.stem, paper.name, self.repository)
            self.write(name, self.links.settled(text, written_in=name, shown_at=name))
        intro = (self.repository / "site" / "pages" / "papers.md").read_text(encoding="utf-8")
        table = papers.captioned("The papers, and where each adds supervision", self.overview())
        stems = [paper.stem for paper in self.papers]
        self.write("papers/index.md", f"{intro}\n{table}\n\n{toctree(stems)}")

    def overview(self) -> str:
        """One row per paper; what it compares with what is the README's sentence."""
        readme = (self.repository / "README.md").read_text(encoding="utf-8")
        lines = ["| paper | supervised where, with what | in one line |", "|:--|:--|:--|"]
        for paper in self.papers:
            named = f" Files named `{paper.stem}`"
            row = next((line for line in readme.splitlines() if line.startswith("|") and named in line), "")
            sentence = row.partition(named)[0].rpartition(". ")[2]
            lines.append(f"| [{paper.name}]({paper.stem}.md) | {sentence} | {papers.escaped(paper.idea)} |")
        return "\n".join(lines)

    def write_measurements(self) -> None:
        lines = ["| measured | on |", "|:--|:--|"]
        for m in self.results:
            title = measured.spoken(m.title)
            self.write(f"benchmarks/results/{m.path.name}", f"# {title}\n\n{papers.scrolling(m.body, title)}\n")
            lines.append(f"| [{title}](results/{m.path.name}) | {papers.escaped(m.machine)} |")
        intro = (self.repository / "site" / "pages" / "machines.md").read_text(encoding="utf-8")
        table = papers.captioned("Every committed measurement and the machine it ran on", "\n".join(lines))
        self.write("benchmarks/machines.md", f"{intro}\n{table}\n")

    def write_house(self) -> None:
        built = house.house(self.repository)
        words, drawing = house.draw(built)
        self.links.lay("drawn/house.png", drawing)
        text = (self.repository / "site" / "pages" / "house.md").read_text(encoding="utf-8")
        figure = f":::{{figure}} drawn/house.png\n:alt: {words}\n\nDrawn from the imports in the code.\n:::"
        table = papers.captioned("The layers, highest first", house.table(built))
        text = text.replace("<!-- drawing -->", figure).replace("<!-- floors -->", table)
        self.write("house.md", self.links.settled(text, written_in="house.md", shown_at="house.md"))

    def write_front(self) -> None:
        text = (self.repository / "site" / "pages" / "index.md").read_text(encoding="utf-8")
        cards = "\n".join(card(paper) for paper in self.papers)
        text = text.replace("<!-- cards -->", f"::::{{container}} cards\n{cards}\n::::")
        text = text.replace("<!-- notebooks -->", "\n".join(f"notebooks/{path.stem}" for path in self.notebooks))
        self.write("index.md", self.links.settled(text, written_in="index.md", shown_at="index.md"))


def card(paper: papers.Paper) -> str:
    idea = f"{paper.idea[:1].upper()}{paper.idea[1:]}."
    picture = (
        f"![{paper.name}: its levels as a U, with prediction and target at the supervised ones]"
        f"(assets/supervision_diagrams/{paper.stem}.png)\n\n"
        if paper.picture.exists()
        else ""
    )
    return f":::{{container}} card\n{picture}**[{paper.name}](papers/{paper.stem}.md)**\n\n{idea}\n:::"


def toctree(entries: list[str]) -> str:
    return "\n".join(["```{toctree}", ":hidden:", "", *entries, "```", ""])
