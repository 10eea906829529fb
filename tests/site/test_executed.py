"""A notebook is executed again when its code or the library's has changed, and for nothing else."""

from __future__ import annotations

import pytest
from book.executed import copy_of, library

from dsnotes.runs import FailedError


def rewrite(path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "old", "new", "other"),
    [
        ("module.py", "return 1", "return 2", True),
        ("module.py", "# why", "# for a reason", False),
        ("module.py", '"""One."""', '"""The first."""', False),
        ("labs/desk.py", "x = 1", "x = 2", False),  # no notebook imports the labs' desk
    ],
)
def test_the_library_is_another_when_its_code_is(small, file, old, new, other):
    before = library(small / "package")
    rewrite(small / "package" / file, old, new)
    assert (library(small / "package") != before) is other


def test_a_new_file_and_a_new_name_make_another_library(small):
    before = library(small / "package")
    (small / "package" / "module.py").rename(small / "package" / "renamed.py")
    renamed = library(small / "package")
    (small / "package" / "template.py").write_text("class {name}: pass\n")  # no Python, and no reason to fall
    assert len({before, renamed, library(small / "package")}) == 3


def test_a_notebook_runs_again_when_its_code_or_the_library_changes_and_for_nothing_else(small):
    notebook, cache = small / "notebooks" / "lesson.py", small / "cache"

    def copy(**how):
        return copy_of(notebook, home=cache / library(small / "package"), smoke=True, **how)

    first = copy()
    assert first.fresh
    assert first.notebook["cells"][3]["outputs"][0]["text"] in (["smoke\n"], "smoke\n")
    assert not copy().fresh
    rewrite(notebook, "# # A lesson", "# # A better lesson")  # prose
    again = copy()
    assert not again.fresh
    assert "better" in again.source.notebook["cells"][0]["source"]

    rewrite(small / "package" / "module.py", "return 1", "return 3")
    old = copy(stale=True)
    assert (old.fresh, old.stale) == (False, True)
    new = copy()
    assert (new.fresh, new.stale) == (True, False)
    rewrite(notebook, '"smoke" if', '"in smoke" if')
    assert copy().fresh


def test_it_computes_with_its_share_of_the_cores(small):
    notebook = small / "notebooks" / "lesson.py"
    rewrite(notebook, 'print("smoke"', 'import os\nprint(os.environ["OMP_NUM_THREADS"], "smoke"')
    copy = copy_of(notebook, home=small / "cache", threads=3)
    assert "".join(copy.notebook["cells"][2]["outputs"][0]["text"]) == "3 whole\n"


def test_a_notebook_that_fails_is_named_with_its_cell_and_its_traceback(small):
    notebook, told = small / "notebooks" / "lesson.py", []
    rewrite(notebook, 'print("smoke" if smoke else "whole")', 'raise ValueError("no luck")')
    with pytest.raises(FailedError, match=r"^lesson: dsnotes run: cell 2: ValueError: no luck \(kept in ") as caught:
        copy_of(notebook, home=small / "cache", tell=told.append)
    assert 'raise ValueError("no luck")' in caught.value.traceback
    assert any("cell 1/" in line for line in told)
    assert (caught.value.folder / "failure.json").exists()
