"""What a reader needs who does not see the page, or reads it by keyboard or on a phone; a Sphinx extension.

Pictures of notebooks get the words that their viewer gave them. What is wider than a phone scrolls within a box of its
own, which the keyboard can reach. A docstring is turned from our Markdown into autodoc's reStructuredText.
"""

from __future__ import annotations

import json
from pathlib import Path

from bs4 import BeautifulSoup
from docutils import nodes

from book.reference import restructured

WORDS = "pictures.json"


def describe(app, tree: nodes.document) -> None:
    """Give every picture without words those that were kept when its notebook was laid out."""
    known = json.loads((Path(app.srcdir) / WORDS).read_text(encoding="utf-8"))
    for image in tree.findall(nodes.image):
        if not image.get("alt"):
            image["alt"] = known.get(Path(image["uri"]).stem, "")


def within_reach(app, page: str, template: str, context: dict, tree) -> None:
    """Boxes that scroll, in the finished body of a page."""
    if "body" not in context or not context["body"]:
        return
    body = BeautifulSoup(context["body"], "html.parser")
    for number, table in enumerate(body.find_all("table"), start=1):
        box = table.find_parent("div", class_="table-wrapper")
        if box is None:
            box = table.wrap(body.new_tag("div", attrs={"class": "table-wrapper"}))
        caption = table.select_one("caption .caption-text") or table.find("caption")
        title = " ".join(caption.get_text().split()) if caption else ""
        box["tabindex"], box["role"] = "0", "region"
        box["aria-label"] = f"table {number}" + (f": {title}" if title else "")
        for head in table.find_all("th"):
            if not head.get_text(strip=True):
                head.name = "td"  # the corner of a table of rows and columns heads nothing
                continue
            head["scope"] = "row" if head.find_parent("tbody") and head.parent.find("td") else "col"
    for code in body.find_all("pre"):
        code["tabindex"] = "0"
    for signature in body.select("dt.sig dl"):  # Sphinx sets a long signature as a list that defines nothing
        for line in signature.find_all("dd", recursive=False):
            line.name, line["class"] = "span", "sig-line"
        signature.name = "span"
    context["body"] = str(body)


FURO = {  # what furo leaves unsaid
    '\n<div id="search-results"></div>': '\n<h1>Search</h1><div id="search-results"></div>',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="All pages">',
    '<aside class="toc-drawer">': '<aside class="toc-drawer" aria-label="This page">',
    '<aside class="toc-drawer no-toc">': '<aside class="toc-drawer no-toc" aria-label="This page">',
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
}


def say_the_rest(app, failed: Exception | None) -> None:
    """Names for what the theme's templates leave without one."""
    for page in Path(app.outdir).rglob("*.html"):
        before = after = page.read_text(encoding="utf-8")
        for said, instead in FURO.items():
            after = after.replace(said, instead)
        if after != before:
            page.write_text(after, encoding="utf-8")


def docstring(app, what: str, name: str, value: object, options, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def setup(app) -> dict:
    app.connect("doctree-read", describe)
    app.connect("html-page-context", within_reach)
    app.connect("build-finished", say_the_rest)
    app.connect("autodoc-process-docstring", docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
