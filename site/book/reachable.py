"""A Sphinx extension for readers with a screen reader, a keyboard only, or a phone.

Notebook pictures get their viewer's descriptions. Content wider than a phone scrolls in its own box, which the
keyboard can reach. Docstrings are turned from our Markdown into autodoc's reStructuredText.
"""

from __future__ import annotations

import json
from pathlib import Path

from bs4 import BeautifulSoup
from docutils import nodes

from book.reference import parsable, restructured

WORDS = "pictures.json"


def describe(app, tree: nodes.document) -> None:
    """Give every picture without a description the one saved when its notebook was written."""
    known = json.loads((Path(app.srcdir) / WORDS).read_text(encoding="utf-8"))
    for image in tree.findall(nodes.image):
        if not image.get("alt"):
            image["alt"] = known.get(Path(image["uri"]).stem, "")


def within_reach(app, page: str, template: str, context: dict, tree) -> None:
    """Put wide content into scrolling boxes, in the finished body of a page."""
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
                head.name = "td"  # the corner cell of a table heads nothing
                continue
            head["scope"] = "row" if head.find_parent("tbody") and head.parent.find("td") else "col"
    for code in body.find_all("pre"):
        code["tabindex"] = "0"
    for signature in body.select("dt.sig dl"):  # Sphinx's list without definitions, for a long signature
        for line in signature.find_all("dd", recursive=False):
            line.name, line["class"] = "span", "sig-line"
        signature.name = "span"
    context["body"] = str(body)


FURO = {  # labels that furo omits
    '\n<div id="search-results"></div>': '\n<h1>Search</h1><div id="search-results"></div>',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="All pages">',
    '<aside class="toc-drawer">': '<aside class="toc-drawer" aria-label="This page">',
    '<aside class="toc-drawer no-toc">': '<aside class="toc-drawer no-toc" aria-label="This page">',
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
}


def say_the_rest(app, failed: Exception | None) -> None:
    """Add labels to elements that the theme's templates leave unlabelled."""
    for page in Path(app.outdir).rglob("*.html"):
        before = after = page.read_text(encoding="utf-8")
        for said, instead in FURO.items():
            after = after.replace(said, instead)
        if after != before:
            page.write_text(after, encoding="utf-8")


def docstring(app, what: str, name: str, value: object, options, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def signature(app, what: str, name: str, value: object, options, found: str | None, returned: str | None):
    return (parsable(found), returned) if found else None


def setup(app) -> dict:
    app.connect("doctree-read", describe)
    app.connect("html-page-context", within_reach)
    app.connect("build-finished", say_the_rest)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
