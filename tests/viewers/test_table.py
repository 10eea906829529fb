"""A table reads in HTML, in Markdown and as text."""

from __future__ import annotations

import torch

from dsnotes.viewers import Table

ROWS = [{"system": "unet-2d", "dice": 0.87654, "cases": 12}, {"system": "<b>", "dice": torch.tensor(1.0), "p": 4e-7}]


def test_columns_are_gathered_and_gaps_stay_empty():
    assert Table(ROWS)._repr_markdown_().splitlines() == [
        "| system | dice | cases | p |",
        "| :-- | --: | --: | --: |",
        "| unet-2d | 0.877 | 12 |  |",
        "| <b> | 1.000 |  | 4e-07 |",
    ]


def test_html_escapes_what_it_is_given():
    html = Table(ROWS, caption="a & b")._repr_html_()
    assert "&lt;b&gt;" in html
    assert "a &amp; b" in html
    assert '<td style="text-align:left">unet-2d</td><td style="text-align:right">0.877</td>' in html
