"""Equations as MathML, which browsers display and screen readers read without any script.

docutils' converter does the work; commands that it does not know are rewritten here first.
"""

from __future__ import annotations

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml

from dsnotes.safety.markup import escape

# Delimiters stretch by themselves in MathML, and relations are recognised by their sign.
ONE = r"\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|(\\[a-zA-Z]+|[0-9A-Za-z]))"
SAID_OTHERWISE = (
    (
        re.compile(r"\\([dt]?)frac" + ONE + ONE),
        r"\\\1frac{\2\3}{\4\5}",
    ),  # \frac12 becomes 12 over what follows
    (re.compile(r"\\(?:big|Big|bigg|Bigg)[lrm]?(?![a-zA-Z])"), ""),
    (re.compile(r"\\(?:textstyle|displaystyle)(?![a-zA-Z])"), ""),
    (re.compile(r"\\mathrel\{([^}]*)\}"), r"\1"),
)
# docutils uses an underscore as the overline, which browsers do not stretch; site.css draws a line instead.
LID = re.compile(
    r'<mover accent="false">((?:(?!<mover accent="false">).)*?)<mo accent="true">_</mo>\s*</mover>', flags=re.S
)


def mathml(tex: str, *, block: bool) -> str:
    """A <math …> element with its TeX source as alternative text."""
    known = tex
    for pattern, instead in SAID_OTHERWISE:
        known = pattern.sub(instead, known)
    try:
        made = tex2mathml(known, as_block=block)
    except MathError as error:
        raise ValueError(f"{error} in ${tex}$: write it in another way, or add it to book/mathml.py.") from error
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
