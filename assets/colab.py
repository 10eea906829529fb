"""Sets up Google Colab for a notebook of this clone; the first cell of each notebook runs it, on Colab only.

Packages that Colab has keep their versions: its torch matches its GPU, its kernel its widgets. Missing packages are
installed in the versions of constraints.txt. JupyterLab is not installed.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STANDS_IN_FOR = ("jupyterlab", "ipykernel")


def plain(requirement: str) -> str:
    """The name in "SimpleITK>=2.4", as package indices compare it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def missing() -> list[str]:
    """The library's requirements that this Python lacks, each with its exact version."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {plain(line): line for line in lines if line and not line.startswith("#")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [pins[name] for name in map(plain, project["dependencies"]) if name not in STANDS_IN_FOR and not have(name)]


def have(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def main() -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    for command in ([*pip, *missing()], [*pip, "--no-deps", str(ROOT)]):
        if command != pip:
            subprocess.run(command, check=True)
    importlib.invalidate_caches()
    importlib.import_module("dsnotes")
    os.environ.setdefault("DSNOTES_VIEWER", "still")  # 3-D viewers need JupyterLab's widgets
    os.chdir(ROOT / "notebooks")
    print("dsnotes is installed; run the next cell")


if __name__ == "__main__":
    main()
