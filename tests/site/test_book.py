"""A small book from end to end: executed, read by Sphinx without a warning, whole, and good to read in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from book import browser, checks
from book.executed import copy_of
from book.pages import page
from book.papers import Paper, printed
from book.reference import floor
from build import sphinx

ROOT = Path(__file__).resolve().parents[2]
INDEX = """# A small book

:::{container} lead
One lesson, one floor of the library, one paper's equations and its widest table.
:::

::::{container} cards
:::{container} card
**[The lesson](lesson.ipynb)**

It draws a red square.
:::
::::

```{toctree}
:caption: Pages

lesson
losses
paper
```
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory, lesson) -> Path:
    """Four pages, one of every kind that the site has, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("book")
    source, notebook = folder / "source", folder / "notebooks" / "lesson.py"
    for each in (source / "clean", notebook.parent):
        each.mkdir(parents=True)
    notebook.write_text(lesson.replace("[the next one](other.ipynb)", "below"), encoding="utf-8")
    shutil.copy(notebook, source / "clean")
    shown, words = page(copy_of(notebook, home=folder / "cache", smoke=True), clean="clean/lesson.py", smoke=True)
    paper = Paper("mu_net", ROOT)
    table = printed(paper.module.TABLES[2], "mu-net-2", [])
    texts = {
        "lesson.ipynb": json.dumps(shown),
        "pictures.json": json.dumps(words),
        "index.md": INDEX,
        "losses.rst": floor("losses"),
        "paper.md": f"# A paper\n\n{paper.written()}\n\n{table}\n",
    }
    for name, text in texts.items():
        (source / name).write_text(text, encoding="utf-8")
    assert sphinx(source, folder / "site", folder / "doctrees", strict=True) == 0
    return folder / "site"


def test_no_page_has_a_fault(site):
    assert checks.everything(site) == []
    assert len(list(site.glob("*.html"))) >= 5


def test_the_lesson_shows_its_outputs_with_words_and_without_a_dead_widget(site):
    text = (site / "lesson.html").read_text(encoding="utf-8")
    assert 'alt="A square: lesson.py draws nothing: a red square stands for a figure that ' in text
    assert "In JupyterLab this output is interactive" in text
    assert ">VBox()" not in text
    assert "<mfrac" in text
    assert "smoke mode" in text


def test_a_wide_table_and_code_are_boxes_that_the_keyboard_reaches(site):
    text = (site / "paper.html").read_text(encoding="utf-8")
    assert 'class="table-wrapper' in text
    assert re.search(r'aria-label="table \d+: mu-net-2, as printed\.', text)
    assert '<th class="head text-right" scope="col">' in text
    assert '<pre tabindex="0">' in (site / "lesson.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def axe(tmp_path_factory) -> str:
    if lacking := browser.missing():
        pytest.skip(lacking)
    try:
        return browser.checker(ROOT / "build" / "site-work" / "node")
    except subprocess.CalledProcessError:
        pytest.skip("npm cannot fetch axe-core here")


@pytest.mark.browser
def test_the_book_reads_well_in_light_and_dark_on_a_phone_and_by_keyboard(site, axe):
    pages = ["index.html", "lesson.html", "losses.html", "paper.html"]
    assert browser.faults(site, axe, pages) == []


@pytest.mark.browser
def test_what_is_hard_to_read_is_found(tmp_path, axe):
    bad = """<html lang="en"><title>x</title><main><article><h1>x</h1><p style="color: #bbb; background: #fff">pale</p>
    <div style="width: 900px">wide</div><img src="http://192.0.2.1/x.png" alt="far"></article></main></html>"""
    (tmp_path / "bad.html").write_text(bad, encoding="utf-8")
    went_out: list[str] = []
    with browser.browser() as opened:
        context = opened.new_context(**browser.WAYS["phone"])
        context.route("**/*", lambda route: browser.local(route, went_out))
        shown = context.new_page()
        shown.goto((tmp_path / "bad.html").as_uri())
        found = "\n".join(browser.sideways(shown) + browser.complaints(shown, axe))
    assert "scrolls sideways: <div" in found
    assert "color-contrast: " in found
    assert went_out == ["http://192.0.2.1/x.png"]
