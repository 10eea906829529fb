"""Every fault that a page may have is found, and a good page has none."""

from __future__ import annotations

import pytest
from book.checks import everything

GOOD = """<html><head><link rel="stylesheet" href="a.css">
<link rel="canonical" href="https://example.org/"></head><body>
<article><h1 id="top">T</h1><h2>U</h2><p><a href="b.html#place">b</a>
<a href="https://example.org">far</a> <a href="#top">up</a>
<img src="p.png" alt="A square that is red all over"></p></article></body></html>"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "b.html").write_text('<article><h1>B</h1><p id="place">x</p></article>')
    (tmp_path / "a.css").write_text("p { background: url('p.png') }")
    (tmp_path / "p.png").write_bytes(b"")
    return tmp_path


def test_a_good_page_has_no_fault(site):
    assert everything(site) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('href="a.css"', 'href="https://cdn.example/a.css"', "index.html: loads https://cdn.example/a.css"),
        ("</head>", '<script src="//cdn.example/x.js"></script></head>', "index.html: loads //cdn.example/x.js"),
        ('src="p.png"', 'src="https://host.example/p.png"', "index.html: loads https://host.example/p.png"),
        ("<p>", "<p style=\"background:url('http://h.example/x')\">", "index.html: loads http://h.example/x"),
        ("b.html#place", "c.html", "index.html: links to c.html, which does not exist"),
        ("#place", "#elsewhere", "index.html: links to b.html#elsewhere: the page has no such anchor"),
        ("A square that is red all over", "", 'index.html: <img alt="" src="p.png"/> does not say what it shows'),
        (
            "A square that is red all over",
            "image",
            'index.html: <img alt="image" src="p.png"/> does not say what it shows',
        ),
        ("<h2>U</h2>", "<h3>U</h3>", "index.html: a heading h3 below h1"),
        ("<h2>U</h2>", "<h1>U</h1>", "index.html: 2 h1 headings"),
        ("<h2>", '<div class="output traceback">ValueError</div><h2>', "index.html: shows an error: 'ValueError'"),
    ],
)
def test_a_fault_is_found(site, old, new, fault):
    page = site / "index.html"
    assert old in page.read_text()
    page.write_text(page.read_text().replace(old, new))
    assert fault in everything(site)


def test_a_style_sheet_that_asks_another_host_is_found(site):
    (site / "a.css").write_text("@import 'https://fonts.example/f.css'; p { src: url(https://fonts.example/f.woff2) }")
    assert everything(site) == [
        "a.css: loads https://fonts.example/f.css",
        "a.css: loads https://fonts.example/f.woff2",
    ]
