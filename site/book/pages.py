"""An executed notebook as a page: current prose around the outputs, described pictures, no dead widgets.

A static page has no kernel. Interactive outputs are replaced by a line that says so, above the still picture that
every viewer saves.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime
from pathlib import Path

from book.executed import Copy

WIDGET = "application/vnd.jupyter.widget-view+json"
MOVED = (
    "*In JupyterLab this output is interactive (sliders, buttons, or a 3-D volume to rotate); this page shows its "
    "still picture.*"
)
TRIED_OUT = "Preview: this page was executed in smoke mode, a few steps on a few phantoms. Its numbers mean nothing."
SHORTEST = 20  # characters; a shorter text is a name, not a description


def page(copy: Copy, *, clean: str, smoke: bool) -> tuple[dict, dict[str, str]]:
    """The notebook to publish, and a description of every picture by its hash."""
    outputs = iter(
        cell["outputs"]
        for cell in copy.notebook["cells"]
        if cell["cell_type"] == "code" and "injected-parameters" not in cell["metadata"].get("tags", [])
    )
    root = f"{copy.source.path.resolve().parents[1]}/"
    words: dict[str, str] = {}
    cells, heading = [], copy.source.name
    for cell in copy.source.notebook["cells"]:
        metadata = {"tags": cell["metadata"].get("tags", [])}
        if cell["cell_type"] != "code":
            heading = ([heading, *re.findall(r"^#+ +(.+)$", cell["source"], flags=re.M)])[-1]
            cells.append({"cell_type": cell["cell_type"], "metadata": metadata, "source": cell["source"]})
            continue
        shown = [kept for output in next(outputs) if (kept := still(output, root)) is not None]
        for output in shown:
            if png := output.get("data", {}).get("image/png"):
                words[digest(png)] = described(output, heading)
        cells.append(
            {"cell_type": "code", "metadata": metadata, "source": cell["source"], "outputs": shown}
            | {"execution_count": None}
        )  # fmt: skip
    first, *rest = cells[0]["source"].split("\n", 1)
    cells[0] = cells[0] | {"source": "\n".join([first, "", provenance(copy, clean=clean, smoke=smoke), "", *rest])}
    kernel = {"kernelspec": copy.source.notebook["metadata"]["kernelspec"]}
    return {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}, words


def still(output: dict, root: str) -> dict | None:
    """The part of an output that works without a kernel, or None; paths are made relative to the repository."""
    if output["output_type"] == "stream":
        text = "".join(output["text"])
        shown = output["name"] == "stdout" or "Warning" in text
        return output | {"text": text.replace(root, "")} if shown else None
    data = output.get("data", {})
    if "image/png" in data:
        return output | {"data": {"image/png": data["image/png"]}}
    if WIDGET in data:
        return {"output_type": "display_data", "data": {"text/markdown": MOVED}, "metadata": {}}
    if not data or output["output_type"] == "error":
        return output
    kept = {kind: value for kind, value in data.items() if kind in ("text/html", "text/plain")}
    return output | {"data": kept} if kept else None


def digest(png: str) -> str:
    """The name that myst-nb gives a picture's file."""
    return hashlib.sha256(base64.b64decode("".join(png))).hexdigest()


def described(output: dict, heading: str) -> str:
    """The viewer's description of the picture, after the heading above it."""
    said = output.get("metadata", {}).get("image/png", {}).get("alt", "")
    if len(said) < SHORTEST:
        raise ValueError(
            f"a picture under {heading!r} has only the description {said!r}. Draw it with dsnotes.viewers, or give "
            f"viewers.notebook_display.Picture an alt= that tells a person who cannot see it what it shows."
        )
    said = re.sub(r"^Maps: ", "", said).replace("\n", " ")
    return f"{plain(heading)}: {said}"


def plain(markdown: str) -> str:
    return re.sub(r"[*`$\\]|^\d+\. ", "", markdown).strip()


def provenance(copy: Copy, *, clean: str, smoke: bool) -> str:
    """When and where the outputs below were computed, and how to get the notebook."""
    about = copy.result
    started = datetime.fromisoformat(about["started"])
    device = about.get("device", "cpu")
    ran = (
        f"Executed on {started.day} {started:%B %Y} in {duration(about['seconds'])} on "
        f"{'a CPU' if device == 'cpu' else device}, with torch {about.get('versions', {}).get('torch', '?')}."
    )
    if copy.stale:
        ran += " The library has changed since."
    offer = f"{{download}}`Download it <{clean}>`, or open it with `make lab`."
    told = f":::{{container}} provenance\n{ran} {offer}\n:::"
    return f":::{{warning}}\n{TRIED_OUT}\n:::\n\n{told}" if smoke else told


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def clean_copy(source: Path) -> str:
    """The `.ipynb` of the pair, without outputs, for download."""
    return source.with_suffix(".ipynb").read_text(encoding="utf-8")
