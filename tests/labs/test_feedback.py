"""A page of feedback is text: what a student writes or shows cannot run in a browser."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import pytest
from coursework import LABS, handed_in
from PIL import Image, PngImagePlugin

from dsnotes.labs.autograder import Attempt, redrawn
from dsnotes.labs.feedback import MOST, POLICY, markdown, page
from dsnotes.labs.submission import submission_of

LAB = LABS["lab1_dice"]
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "[x](javascript:alert(1))",
    "![x](https://example.org/track.png)",
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    "<style>body{display:none}</style>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    '<meta http-equiv="refresh" content="0;url=https://example.org">',
    "</pre></body><script>alert(1)</script>",
    "<form action=https://example.org><button>x</button></form>",
]


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_not_obeyed(text):
    changes = {"reflection": f"Because\n\n{text}", "dice": text}
    submission = submission_of("<b>eve</b>", LAB, handed_in(LAB, changes))
    submission.notes.append(text)
    at = next(i for i, cell in enumerate(submission.cells) if cell["source"] == text)
    outputs = {str(at): [{"text": text}, {"error": text}, {"png": '"><script>'}]}
    attempt = Attempt("<b>eve</b>", LAB.name, {}, {"test-dice": text}, outputs, notes=[text])
    seen = Seen()
    seen.feed(page(submission, attempt, LAB))
    allowed = {"html", "head", "meta", "title", "style", "body", "p", "ul", "li", "table", "tr", "th", "td", "pre"}
    allowed |= {"h1", "h2", "h3", "img", "code", "em", "strong"}
    assert {tag for tag, _ in seen.tags} <= allowed
    assert all(not name.startswith("on") and name != "href" for _, given in seen.tags for name in given)
    assert all(given["src"].startswith("data:image/png;base64,") for tag, given in seen.tags if tag == "img")
    metas = [given for tag, given in seen.tags if tag == "meta"]
    assert metas == [{"charset": "utf-8"}, {"http-equiv": "Content-Security-Policy", "content": POLICY}]
    assert [tag for tag, _ in seen.tags].count("style") == 1


def test_the_policy_allows_no_script_and_no_network():
    assert POLICY.startswith("default-src 'none'; img-src data:;")
    assert "script" not in POLICY


def test_plain_markdown_is_rendered():
    assert markdown("It is *soft*, see `p`.\n\n- one\n- two") == (
        "<p>It is <em>soft</em>, see <code>p</code>.</p>\n<ul>\n<li>one</li>\n<li>two</li>\n</ul>\n"
    )
    assert len(markdown("[" * 50_000)) > 0
    assert len(markdown("> " * 5_000 + "x")) > 0


def test_a_page_without_a_sandbox_says_so_and_long_outputs_are_cut():
    submission = submission_of("ada", LAB, handed_in(LAB))
    outputs = {str(at): [{"text": "x" * 20_000}] * 50 for at in range(len(submission.cells))}
    text = page(submission, Attempt("ada", LAB.name, outputs=outputs, sandbox="none"), LAB)
    assert "Graded without a sandbox" in text
    assert len(text) < MOST + 100_000
    assert "Graded without a sandbox" not in page(submission, Attempt("ada", LAB.name, sandbox="bubblewrap"), LAB)
    assert "### BEGIN HIDDEN" not in text


def test_a_picture_is_drawn_anew():
    told = PngImagePlugin.PngInfo()
    told.add_text("comment", "<script>alert(1)</script>")
    file = io.BytesIO()
    Image.new("RGB", (4, 3), "red").save(file, "PNG", pnginfo=told)
    new = base64.b64decode(redrawn(base64.b64encode(file.getvalue() + b"<script>").decode())["png"])
    assert b"script" not in new
    assert Image.open(io.BytesIO(new)).getpixel((0, 0)) == (255, 0, 0)
    large = io.BytesIO()
    Image.new("1", (3000, 3000)).save(large, "PNG")
    assert "too large to show" in redrawn(base64.b64encode(large.getvalue()).decode())["text"]
    for wrong in ("", "no base64!", base64.b64encode(b"GIF89a").decode()):
        assert re.match(r"\(cannot read this picture", redrawn(wrong)["text"])
