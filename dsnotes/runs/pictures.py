"""The pictures of an executed notebook as files."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

SUFFIXES = {"image/png": ".png", "image/svg+xml": ".svg", "image/jpeg": ".jpg"}


def keep_figures(notebook: Any, folder: Path) -> list[str]:
    """One file per picture, named by cell and position: 07-1.png is the first picture of cell 7."""
    kept = []
    for number, cell in enumerate(notebook["cells"]):
        place = 0
        for output in cell.get("outputs", []):
            for kind, suffix in SUFFIXES.items():
                if kind in output.get("data", {}):
                    place += 1
                    data = "".join(output["data"][kind])
                    folder.mkdir(exist_ok=True)
                    name = f"{number:02}-{place}{suffix}"
                    content = data.encode() if suffix == ".svg" else base64.b64decode(data)
                    (folder / name).write_bytes(content)
                    kept.append(name)
                    break
    return kept
