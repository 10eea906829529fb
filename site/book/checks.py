"""Checks of the finished pages that need no browser.

No page loads anything from another host; every link within the site leads to an existing page and anchor; every
picture has a description; headings skip no level; no notebook shows an error.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

LOADS = {  # what a browser fetches by itself
    "script": ("src",), "link": ("href",), "img": ("src", "srcset"), "source": ("src", "srcset"), "iframe": ("src",),
    "video": ("src", "poster"), "audio": ("src",), "object": ("data",), "embed": ("src",), "track": ("src",),
    "input": ("src",), "image": ("href",), "use": ("href",),
}  # fmt: skip
IN_STYLE = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")
SHORTEST_WORDS = 10


def everything(out: Path) -> list[str]:
    """Every fault, one per line; empty if there is none."""
    pages = {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in sorted(out.rglob("*.html"))
    }
    anchors = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    faults = [f"{sheet.relative_to(out)}: loads {url}" for sheet in out.rglob("*.css") for url in elsewhere(sheet)]
    for path, page in pages.items():
        found = [*loads(page), *dead(path, page, out, anchors), *wordless(page), *steps(page), *errors(page)]
        faults += [f"{path.relative_to(out).as_posix()}: {fault}" for fault in found]
    return faults


def remote(url: str) -> bool:
    return bool(urlsplit(url).netloc)


def elsewhere(sheet: Path) -> list[str]:
    found = IN_STYLE.findall(sheet.read_text(encoding="utf-8"))
    return [url for pair in found for url in pair if url and remote(url)]


def loads(page: BeautifulSoup) -> list[str]:
    """Everything that a browser would fetch from another host."""
    found = []
    for name, attributes in LOADS.items():
        for tag in page.find_all(name):
            if name == "link" and not {"stylesheet", "icon", "preload", "prefetch"} & set(tag.get("rel", [])):
                continue
            urls = [part.split()[0] for a in attributes for part in str(tag.get(a, "")).split(",") if part.strip()]
            found += [f"loads {url}" for url in urls if remote(url)]
    styles = [tag.get("style", "") for tag in page.find_all(style=True)] + [tag.text for tag in page.find_all("style")]
    return found + [f"loads {url}" for text in styles for pair in IN_STYLE.findall(text) for url in pair if remote(url)]


def dead(path: Path, page: BeautifulSoup, out: Path, anchors: dict[Path, set[str]]) -> list[str]:
    """Links within the site that lead nowhere."""
    found = []
    for tag in page.find_all(["a", "img", "script", "link"]):
        url = tag.get("href") or tag.get("src") or ""
        parts = urlsplit(url)
        if not url or parts.scheme or parts.netloc:
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if target.is_dir():
            target /= "index.html"
        if not target.is_file() or not target.is_relative_to(out.resolve()):
            found.append(f"links to {url}, which does not exist")
        elif parts.fragment and target in anchors and unquote(parts.fragment) not in anchors[target]:
            found.append(f"links to {url}: the page has no such anchor")
    return found


def wordless(page: BeautifulSoup) -> list[str]:
    pictures = [tag for tag in page.find_all("img") if len(tag.get("alt", "").strip()) < SHORTEST_WORDS]
    vectors = [tag for tag in page.select("article svg") if not tag.get("aria-hidden") and not tag.find("title")]
    return [f"{str(tag)[:80]} does not say what it shows" for tag in [*pictures, *vectors]]


def steps(page: BeautifulSoup) -> list[str]:
    """Faults of headings: not exactly one h1, or a skipped level."""
    article = page.find("article") or page
    levels = [int(tag.name[1]) for tag in article.find_all(re.compile(r"^h[1-6]$"))]
    first = levels.count(1)
    found = [f"{first} h1 headings"] if first != 1 and page.find("article") else []
    return found + [f"a heading h{b} below h{a}" for a, b in pairwise(levels) if b > a + 1]


def errors(page: BeautifulSoup) -> list[str]:
    return [f"shows an error: {tag.get_text()[:60]!r}" for tag in page.select(".output.traceback")]
