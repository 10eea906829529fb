"""The package tells its types: a page of a user's code passes mypy, and a mistake in it does not."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mypy import api

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OPTIONS = ["--follow-imports=silent", "--ignore-missing-imports", "--no-error-summary", "--cache-dir"]


def checked(path: Path, cache: Path) -> str:
    here = os.getcwd()
    os.chdir(ROOT)  # where the package is found first
    try:
        told, crashed, _ = api.run([*OPTIONS, str(cache), str(path)])
    finally:
        os.chdir(here)
    assert not crashed
    return told


def test_a_page_of_user_code_passes_and_a_mistake_in_it_is_found(tmp_path):
    assert (ROOT / "dsnotes" / "py.typed").exists()
    assert checked(HERE / "user_page.py", tmp_path / "cache") == ""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import dsnotes\nlearned: int = dsnotes.load('run')\ndsnotes.wrap(3)\n")
    told = checked(wrong, tmp_path / "cache")
    assert 'variable has type "int"' in told
    assert re.search(r'expected "?Module', told)
