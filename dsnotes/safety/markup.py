"""Text that goes into HTML: a name is shown as it is written and never read as markup."""

from __future__ import annotations

import html


def escape(text: object) -> str:
    """Safe between tags and within a quoted attribute."""
    return html.escape(str(text), quote=True)


def plain_math(text: object) -> str:
    """Safe in a matplotlib title or label, where dollar signs would begin a formula."""
    return str(text).replace("$", r"\$")
