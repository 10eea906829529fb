"""The published tables, read from their files."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from dsnotes.papers import recipe
from dsnotes.papers.recipe import Table, tables_of

FILES = sorted((Path(recipe.__file__).parent / "tables").glob("*.toml"))


def test_a_table_is_read_as_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    written = """[7]
caption = "Two readers."
columns = ["dice", "size"]
[7.rows]
"a+" = [0.50, [3, 4]]
b = ["-", [5, 6]]
[7.runs]
b = { system = "mss-unet", options = { strategies = ["multi-scale"] } }
"""
    (tmp_path / "tables" / "mine.toml").write_text(written, encoding="utf-8")
    monkeypatch.setattr(recipe, "__file__", str(tmp_path / "recipe.py"))
    assert tables_of("mine") == {
        7: Table(
            caption="Two readers.",
            columns=("dice", "size"),
            rows={"a+": (0.5, (3, 4)), "b": (None, (5, 6))},
            runs={"b": {"system": "mss-unet", "options": {"strategies": ("multi-scale",)}}},
        )
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_is_whole_and_its_papers(path):
    tables = import_module(f"dsnotes.papers.{path.stem}").TABLES
    assert list(tables) == [int(number) for number in tomllib.loads(path.read_text(encoding="utf-8"))]
    for number, table in tables.items():
        assert {len(row) for row in table.rows.values()} == {len(table.columns)}, number
        assert {*table.runs, *table.unfilled} <= set(table.rows), number
        assert set(table.metrics) <= set(table.columns), number
        assert table.starred is None or table.starred in table.rows, number
