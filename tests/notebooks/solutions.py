"""Notebooks with their folded solutions unfolded into cells, so that a run executes them too."""

from __future__ import annotations

import re

import nbformat

FOLDED = re.compile(r"<details><summary>[^<]*</summary>(.*?)</details>", re.DOTALL)
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def solutions(markdown: str) -> list[str]:
    """The Python of every folded part, one text for each."""
    return [code for folded in FOLDED.findall(markdown) for code in CODE.findall(folded)]


def unfolded(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with each solution as a cell below the one that holds it."""
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            cells += [
                nbformat.v4.new_code_cell(code, metadata={"tags": ["solution"]}) for code in solutions(cell.source)
            ]
    return nbformat.from_dict({**notebook, "cells": cells})
