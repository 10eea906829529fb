"""Turns links written for the repository into links that work on the site.

The site's source has the repository's folders, so most links work unchanged. A link to a notebook's `.py` becomes its
page, a link to a README its folder's page, a link to any other file a download; a folder without a page loses its link.
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
        """The Markdown of a file in the repository, with its links rewritten for the page that shows it."""

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
                raise FileNotFoundError(f"{written_in} links to {target}, but {at} does not exist: correct the link.")
            near = os.path.relpath(page, PurePosixPath(shown_at).parent).replace(os.sep, "/")
            return f"{picture}[{words}]({near}{f'#{anchor}' if anchor else ''})"

        return LINK.sub(settle, text)

    def page(self, path: str) -> str | None:
        candidates = [path, f"{path}/README.md".removeprefix("./"), re.sub(r"\.(py|ipynb)$", ".md", path)]
        if path.endswith(".py"):
            candidates.append(path.removesuffix(".py") + ".ipynb")
        return next((self.pages[name] for name in candidates if name in self.pages), None)

    def keep(self, path: str) -> str:
        """Copy a file of the repository beside the pages."""
        self.lay(path, (self.repository / path).read_bytes())
        return path

    def lay(self, path: str, content: bytes) -> None:
        """Write a file of the site's source; leave an unchanged one alone, so that Sphinx need not read it again."""
        file = self.source / path
        self.laid.add(file)
        if not file.is_file() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    def sweep(self) -> None:
        """Remove files that an earlier build wrote and this one did not."""
        for file in [p for p in self.source.rglob("*") if p.is_file() and p not in self.laid]:
            file.unlink()


def section(text: str, heading: str) -> str:
    """The text below a second-level heading, up to the next one."""
    parts = re.split(r"^## +(.+?) *$", text, flags=re.M)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    if heading not in found:
        raise KeyError(f"there is no section {heading!r}; there are {', '.join(found)}")
    return found[heading].strip("\n")
