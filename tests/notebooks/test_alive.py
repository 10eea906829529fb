"""The measure of silence: a cell that sleeps without output is silent, one that prints in between is not."""

from __future__ import annotations

import nbformat
import pytest
from alive import run

CELLS = ["smoke: bool = False  # nothing", "sum(i * i for i in range(12_000_000))", "print('now')"]
TALKS = "for _ in range(3):\n    sum(i * i for i in range(4_000_000))\n    print('alive')"


@pytest.mark.notebook
def test_the_longest_stretch_without_output_is_measured(tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in (*CELLS, TALKS)]
    cells[0].metadata["tags"] = ["parameters"]
    source = tmp_path / "short.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), source)
    stretches = {one["first"]: one for one in run(source, tmp_path / "out" / "short.ipynb", {}, cwd=tmp_path)}
    works, prints, talks = (stretches[source.split("\n")[0]] for source in (*CELLS[1:], TALKS))
    assert works["silent"] > 0.8 * works["seconds"] > 0.1
    assert prints["silent"] < 0.5 * works["silent"]
    assert talks["silent"] < 0.75 * talks["seconds"]
    assert (tmp_path / "out" / "short.ipynb").is_file()
