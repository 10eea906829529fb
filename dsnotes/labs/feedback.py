"""A feedback page for a student: points, messages, and their cells' outputs, as text and pictures that cannot run."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from dsnotes.labs.autograder import Attempt
from dsnotes.labs.source import Lab, id_of, is_locked, points_of
from dsnotes.labs.submission import Submission

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
ALLOWED = {
    "p",
    "br",
    "em",
    "strong",
    "code",
    "pre",
    "ul",
    "ol",
    "li",
    "blockquote",
    "h1",
    "h2",
    "h3",
    "h4",
    "sub",
    "sup",
}
STYLE = """body{font:16px/1.5 sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}
pre{background:#f5f5f5;padding:.5rem;overflow:auto;white-space:pre-wrap}td,th{padding:.2rem .8rem;text-align:left;
vertical-align:top}.bad{color:#a40000;font-weight:bold}img{max-width:100%}"""
MOST = 200_000  # characters of all outputs together
UNSAFE = "Graded without a sandbox (--unsafe-no-sandbox): this code ran with the instructor's own rights."


def page(submission: Submission, attempt: Attempt, lab: Lab) -> str:
    return "".join(_parts(submission, attempt, lab))


def _parts(submission: Submission, attempt: Attempt, lab: Lab) -> Iterator[str]:
    title = html.escape(f"{lab.title}: {attempt.student}")
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><style>{STYLE}</style></head><body>'
    yield f"<h1>{title}</h1>"
    if attempt.sandbox == "none":
        yield f'<p class="bad">{UNSAFE}</p>'
    total, most = sum(attempt.points.values()), sum(lab.tests.values())
    yield f"<p>Tests: {total:g} of {most:g} points. Run in {attempt.seconds:.0f} s; sandbox: {attempt.sandbox}.</p>"
    if attempt.notes:
        yield "<h2>What happened</h2><ul>" + "".join(f"<li>{_text(note)}</li>" for note in attempt.notes) + "</ul>"
    else:
        yield "<p>No problems.</p>"
    yield "<h2>Tests</h2><table><tr><th>test</th><th>points</th><th></th></tr>"
    for name, full in lab.tests.items():
        said = f"<pre>{_text(attempt.messages[name])}</pre>" if name in attempt.messages else ""
        yield f"<tr><td>{name}</td><td>{attempt.points.get(name, 0):g} of {full:g}</td><td>{said}</td></tr>"
    yield "</table><h2>Your cells</h2>"
    left = MOST
    for at, cell in enumerate(submission.cells):
        name = id_of(cell)
        if (name and is_locked(cell)) or (not name and cell["cell_type"] != "code"):
            continue
        yield f"<h3>{html.escape(name or 'a cell that you added')}{_by_hand(cell)}</h3>"
        yield markdown(cell["source"]) if cell["cell_type"] != "code" else f"<pre>{_text(cell['source'])}</pre>"
        for output in attempt.outputs.get(str(at), []):
            if "png" in output:
                shown = f'<img alt="" src="data:image/png;base64,{html.escape(output["png"])}">'
            else:
                shown = f"<pre>{_text(output.get('error', output.get('text', '')))}</pre>"
            left -= len(shown)
            if left < 0:
                yield "<p>(further output left out)</p>"
                break
            yield shown
    yield "</body></html>"


def _by_hand(cell: dict) -> str:
    return f" ({points_of(cell):g} points, marked by hand)" if points_of(cell) else ""


def _text(text: str) -> str:
    """Escaped, without terminal colour codes."""
    return html.escape(re.sub(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]", "", text))


def markdown(text: str) -> str:
    """Rendered, then reduced to allowed tags: no scripts, links, pictures or attributes."""
    import mistune
    import nh3

    try:
        rendered = str(mistune.html(text[:MOST]))
    except RecursionError:
        rendered = f"<pre>{_text(text[:MOST])}</pre>"
    return nh3.clean(rendered, tags=ALLOWED, attributes={}, url_schemes=set())
