"""Links as they are written for the repository, made to lead somewhere on the site.

The site's source has the repository's folders, so that most links hold as they are. A notebook's `.py` is its page, a
README is its folder's page, a file that is no page is offered as it is, and a folder that has none loses its link.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
ELSEWHERE = re.compile(r"[a-z][a-z+.-]*:|#|//")


@dataclass
class Links:
    """`pages` are the site's pages by their path in the repository -> path in the site's source."""

    repository: Path
    source: Path
    pages: dict[str, str] = field(default_factory=dict)
    laid: set[Path] = field(default_factory=set)

    def settled(self, text: str, *, written_in: str, shown_at: str) -> str:
        """The Markdown of a file of the repository, for the page that shows it."""

        def settle(found: re.Match) -> str:
            picture, words, target = found.groups()
            if ELSEWHERE.match(target):
                return found[0]
            path, _, anchor = target.partition("#")
            at = os.path.normpath(PurePosixPath(written_in).parent / path).replace(os.sep, "/")
            page = self.page(at)
            if page is None and (self.repository / at).is_file():
                page = self.keep(at)
                anchor = ""
            elif page is None and (self.repository / at).is_dir():
                return words
            elif page is None:
                raise FileNotFoundError(f"{written_in} links to {target}, and there is no {at}: correct the link.")
            near = os.path.relpath(page, PurePosixPath(shown_at).parent).replace(os.sep, "/")
            return f"{picture}[{words}]({near}{f'#{anchor}' if anchor else ''})"

        return LINK.sub(settle, text)

    def page(self, path: str) -> str | None:
        candidates = [path, f"{path}/README.md".removeprefix("./"), re.sub(r"\.(py|ipynb)$", ".md", path)]
        if path.endswith(".py"):
            candidates.append(path.removesuffix(".py") + ".ipynb")
        return next((self.pages[name] for name in candidates if name in self.pages), None)

    def keep(self, path: str) -> str:
        """Lay a file of the repository beside the pages."""
        self.lay(path, (self.repository / path).read_bytes())
        return path

    def lay(self, path: str, content: bytes) -> None:
        """Write a file of the site's source; one that says the same is left alone, so that Sphinx need not read it."""
        file = self.source / path
        self.laid.add(file)
        if not file.is_file() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    def sweep(self) -> None:
        """Remove what an earlier build has laid and this one has not."""
        for file in [p for p in self.source.rglob("*") if p.is_file() and p not in self.laid]:
            file.unlink()


def section(text: str, heading: str) -> str:
    """What stands below a heading of second order, until the next one."""
    parts = re.split(r"^## +(.+?) *$", text, flags=re.M)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    if heading not in found:
        raise KeyError(f"there is no section {heading!r}; there are {', '.join(found)}")
    return found[heading].strip("\n")
