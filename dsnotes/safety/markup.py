"""Escape text for HTML, so that a name is shown as written and never read as markup."""

from __future__ import annotations

import html


def escape(text: object) -> str:
    """Safe between tags and within a quoted attribute."""
    return html.escape(str(text), quote=True)
