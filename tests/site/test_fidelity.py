"""What the fidelity pages say of a paper is there: the place, the name in it, and the test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from book.fidelity import page, parts, recipes_of
from book.papers import stems

ROOT = Path(__file__).resolve().parents[2]
PARTS = [(stem, part) for stem in stems() for part in parts(stem, ROOT)]


@pytest.mark.parametrize(("stem", "part"), PARTS, ids=[f"{s}-{p.says[:30]}" for s, p in PARTS])
def test_each_line_leads_to_a_place_and_to_a_test(stem, part):
    path, _, name = part.where.partition(": ")
    assert name in (ROOT / path).read_text(encoding="utf-8")
    path, _, name = part.test.partition(": ")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), flags=re.M)


@pytest.mark.parametrize("stem", stems())
def test_every_paper_has_a_page_with_its_recipe(stem):
    text = page(stem, stem, ROOT)
    assert len(parts(stem, ROOT)) >= 5
    assert recipes_of(stem)
    for recipe in recipes_of(stem).values():
        assert all(said.split(":")[0] in text for said in recipe.said.values())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {4, 5}, "a cell's bar is escaped"
