"""The site's own modules, and a repository in miniature for them to make a book of."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "site"))

KERNEL = "# jupyter:\n#   kernelspec:\n#     display_name: Python 3\n#     language: python\n#     name: python3\n"
HEADER = f"# ---\n{KERNEL}# ---\n\n"
PICTURE = "lesson.py draws nothing: a red square stands for a figure that a viewer drew"
NOTEBOOK = f'''{HEADER}# %% [markdown]
# # A lesson
#
# What is $\\tfrac12 + \\tfrac12$? See [the next one](other.ipynb).

# %% tags=["parameters"]
smoke: bool = False  # nothing is long here

# %%
print("smoke" if smoke else "whole")

# %% [markdown]
# ## A square

# %%
import base64
from IPython.display import Image, display
red = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
red = base64.b64decode(red)
display(Image(data=red, alt="{PICTURE}"))
display({{"application/vnd.jupyter.widget-view+json": {{"model_id": "1"}}, "text/plain": "VBox()"}}, raw=True)
'''


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with a package of one module and a notebook beside it."""
    (tmp_path / "package" / "labs").mkdir(parents=True)
    (tmp_path / "package" / "module.py").write_text(
        '"""A module."""\n\n\ndef f():\n    """One."""\n    return 1  # why\n'
    )
    (tmp_path / "package" / "labs" / "desk.py").write_text("x = 1\n")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "lesson.py").write_text(NOTEBOOK, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="session")
def lesson() -> str:
    """A notebook's source: prose, a formula, parameters, a picture with words, and a widget."""
    return NOTEBOOK
