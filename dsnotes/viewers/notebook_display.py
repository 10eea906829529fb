"""Detect where the code runs, and show a picture in the notebook once, so that it stays in the saved file."""

from __future__ import annotations

import os
import re
import sys
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsnotes.safety.nearest import nearest
from dsnotes.viewers import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CSS_PIXELS = 90  # of the page for an inch of the figure


def shell() -> Any | None:
    """The notebook kernel's shell, or None in a script and in a terminal."""
    if "IPython" not in sys.modules:
        return None
    found = sys.modules["IPython"].get_ipython()
    return found if hasattr(found, "kernel") else None


def here() -> str:
    """ "browser" (interactive), "kernel" (a headless run) or "script".

    JupyterLab and Notebook send their requests with an empty user name, papermill and nbconvert with the account's;
    VS Code sends a random one, but leaves the notebook's path among the variables.
    """
    kernel_shell = shell()
    if kernel_shell is None:
        return "script"
    user = kernel_shell.get_parent().get("header", {}).get("username")
    return "browser" if user == "" or in_vscode() else "kernel"


def in_vscode() -> bool:
    """VS Code's own notebook, which shows ipywidgets, but not JupyterLab's extensions."""
    kernel_shell = shell()
    return kernel_shell is not None and "__vsc_ipynb_file__" in kernel_shell.user_ns


def choose(viewer: str | None, viewers: dict[str, Any], *, volume: bool = False) -> str:
    """The viewer by argument, else by DSNOTES_VIEWER, else by place: interactive viewers in a browser only."""
    asked = viewer or os.environ.get("DSNOTES_VIEWER")
    if not asked:
        return "still" if here() != "browser" else "volume" if volume else "slices"
    if asked not in viewers:
        near = nearest(asked, viewers, 1)
        source = "viewer=" if viewer else "DSNOTES_VIEWER="
        raise ValueError(
            f"{source}{asked!r} is not a viewer of dsnotes. Choose one of {sorted(viewers)}"
            + (f"; did you mean {near[0]!r}?" if near else ".")
        )
    return asked


class DisplayArea:
    """One place in a cell's output: each `put` replaces its content; the file keeps the last."""

    def __init__(self) -> None:
        self._handle: Any = None

    def put(self, thing: Any) -> None:
        if shell() is None:
            return
        if self._handle is None:
            from IPython.display import display

            self._handle = display(thing, display_id=True)
        else:
            self._handle.update(thing)

    def put_figure(self, figure: Figure, alt: str = "") -> None:
        if shell() is None:
            return
        from IPython.display import Image

        self.put(Image(data=style.png(figure), format="png", width=css_width(figure), alt=alt))


def css_width(figure: Figure) -> int:
    """How wide a page shows the figure: all with letters of one size."""
    return round(figure.get_figwidth() * CSS_PIXELS)


def png_and_width(figure: Figure) -> tuple[bytes, str]:
    """What an ipywidgets.Image shows as large as the same figure stands in a cell's output."""
    return style.png(figure), f"{css_width(figure)}px"


def close(widget: Any) -> None:
    """Close a widget and its children, since ipywidgets keeps every widget that was not closed."""
    for child in getattr(widget, "children", ()):
        close(child)
    widget.close()


class Picture:
    """A figure already shown in the notebook: change `figure`, or `save` it to a file."""

    def __init__(self, figure: Figure, alt: str = "") -> None:
        self.figure, self.alt = figure, alt
        DisplayArea().put_figure(figure, alt)

    def save(self, path: str | Path) -> Path:
        """Write it in the format that the ending names: png, pdf, svg."""
        path = Path(path)
        if path.suffix.lower() == ".png":
            path.write_bytes(style.png(self.figure))
            return path
        with style.look():
            self.figure.savefig(path)
        return path

    def _ipython_display_(self) -> None:
        """Show nothing: the picture is in the cell already, and would appear twice."""


class Paragraph:
    """HTML for a notebook, and the same words as plain text."""

    def __init__(self, html: str) -> None:
        self.html = html

    def _repr_html_(self) -> str:
        return f"<div>{self.html}</div>"

    def __repr__(self) -> str:
        return unescape(re.sub(r"<[^>]+>", "", self.html.replace("</summary>", " ")))
