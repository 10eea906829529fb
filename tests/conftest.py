"""What every test may use: the folder of real images, and a calm machine."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for dicom_files
os.environ.setdefault("MPLBACKEND", "Agg")  # figures are written, never shown
if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(min(2, os.cpu_count() or 1))  # the tensors of tests are too small for more

# The same examples on every machine; no deadline, since the checked annotations slow the first call of everything.
hypothesis.settings.register_profile("dsnotes", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("dsnotes")

# What saves most of the time of starting one more Python, of which these tests start hundreds. jsonschema, which all
# that reads a notebook imports, compiles 38 grammars to check IRIs where rfc3987_syntax is installed: 1.3 s, and no
# notebook holds an IRI. Garbage collection looks through a million imported objects that all stay: a sixth of a start.
sys.modules.setdefault("rfc3987_syntax", None)
OF_PROCESSES = {
    "rfc3987_syntax.py": "raise ImportError\n",
    "sitecustomize.py": "import gc\ngc.set_threshold(100_000)\n",
}
SHARED = Path(tempfile.mkdtemp(prefix="dsnotes-tests-"))
for name, text in OF_PROCESSES.items():
    (SHARED / name).write_text(text, encoding="utf-8")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(SHARED)]))
atexit.register(shutil.rmtree, SHARED, ignore_errors=True)


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays: no later collection need look at it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


MISSING = {
    "gpu": None if torch.cuda.is_available() else "needs a CUDA device",
    "browser": None if shutil.which("chromium") else "needs chromium: apt-get install chromium",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A marked test is skipped, and says why, where the machine lacks what it needs; `slow` ones run when asked for."""
    asked = config.getoption("markexpr")
    for item in items:
        for marker in item.iter_markers():
            if reason := MISSING.get(marker.name):
                item.add_marker(pytest.mark.skip(reason=reason))
            elif marker.name == "slow" and "slow" not in asked:
                item.add_marker(pytest.mark.skip(reason="full size; run with `pytest -m slow`"))


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """real_data("hippocampus_mr") -> the folder of that set of real images; skips where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("DSNOTES_TEST_DATA", default))

    def folder(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"real images {name!r} are not on this machine: DSNOTES_TEST_DATA names their folder")
        return root / name

    return folder


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random numbers for a test whichever ran before it."""
    torch.manual_seed(0)
