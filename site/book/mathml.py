"""Equations as MathML: what every browser sets, a screen reader speaks, and no script from elsewhere is needed for.

docutils' own converter does it; what it does not know is said here in its words.
"""

from __future__ import annotations

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml

from dsnotes.safety.markup import escape

# A fence stretches by itself in MathML, and a relation is known by its sign.
ONE = r"\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|(\\[a-zA-Z]+|[0-9A-Za-z]))"
SAID_OTHERWISE = (
    (re.compile(r"\\([dt]?)frac" + ONE + ONE), r"\\\1frac{\2\3}{\4\5}"),  # TeX's \frac12 is 12 over what follows here
    (re.compile(r"\\(?:big|Big|bigg|Bigg)[lrm]?(?![a-zA-Z])"), ""),
    (re.compile(r"\\(?:textstyle|displaystyle)(?![a-zA-Z])"), ""),
    (re.compile(r"\\mathrel\{([^}]*)\}"), r"\1"),
)
# An underscore for a lid, which no browser draws as wide as what is under it; site.css draws a line.
LID = re.compile(
    r'<mover accent="false">((?:(?!<mover accent="false">).)*?)<mo accent="true">_</mo>\s*</mover>', flags=re.S
)


def mathml(tex: str, *, block: bool) -> str:
    """<math …> that keeps what it was made from as its alternative text."""
    known = tex
    for pattern, instead in SAID_OTHERWISE:
        known = pattern.sub(instead, known)
    try:
        made = tex2mathml(known, as_block=block)
    except MathError as error:
        raise ValueError(f"{error} in ${tex}$: write it otherwise, or teach book/mathml.py the command.") from error
    made = LID.sub(r'<mrow class="overline">\1</mrow>', made)
    return made.replace("<math ", f'<math alttext="{escape(" ".join(tex.split()))}" ', 1)


def visit_inline(visitor, node: nodes.math) -> None:
    visitor.body.append(mathml(node.astext(), block=False))
    raise nodes.SkipNode


def visit_block(visitor, node: nodes.math_block) -> None:
    formula = mathml(node.astext(), block=True)
    visitor.body.append(f'<div class="math" tabindex="0" role="group" aria-label="equation">{formula}</div>\n')
    raise nodes.SkipNode


def setup(app) -> dict:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True}
