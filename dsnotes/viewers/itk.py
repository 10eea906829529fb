"""Optional viewer itkwidgets; it needs internet access, because its viewer is fetched each time.

Importing itkwidgets makes every later cell wait until a viewer in the browser reports that it is ready. Without
internet none does, and the notebook hangs. So the viewer is marked as ready as soon as it exists, later waits are
released after `PATIENCE` seconds, and a headless run never imports it.

It also imports imjoy_elfinder, a file manager that no viewer uses and that forces pydantic below 2; where that package
is missing, an empty module takes its place while itkwidgets is imported.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from dsnotes.viewers import notebook_display
from dsnotes.viewers.scene import Scene
from dsnotes.viewers.view import View, still
from dsnotes.viewers.volume import volume

PATIENCE = 20  # seconds until the queue is released once more


def itk(scene: Scene, *, at: tuple[int, ...] | None = None, zoom: float | None = None) -> View:
    """The itkwidgets viewer above the still picture; or, after one line that says why, what can be shown instead."""
    if reason := why_not(scene):
        print(f"itkwidgets is left out: {reason}.")
        return still(scene, at=at, zoom=zoom)
    if notebook_display.in_vscode():
        print("itkwidgets is left out: its viewer opens in JupyterLab, not in VS Code. NiiVue opens here:")
        return volume(scene, at=at, zoom=zoom)
    if not online():
        print("itkwidgets is left out: its viewer's page cannot be fetched from here. NiiVue needs no network:")
        return volume(scene, at=at, zoom=zoom)
    try:
        _open(scene)
    except Exception as error:  # an error in itkwidgets or its dependencies must not stop the notebook
        print(f"itkwidgets is left out: it raised {type(error).__name__}: {error}.")
    return still(scene, at=at, zoom=zoom)


def why_not(scene: Scene) -> str:
    """Why itkwidgets cannot be used; empty if it can."""
    if importlib.util.find_spec("itkwidgets") is None:
        return "it is not installed; type pip install 'dsnotes[itk]'"
    if notebook_display.here() != "browser":
        return "there is no browser to show it"
    if scene.image.ndim != 3:
        return "it shows volumes, and this image has two axes"
    return ""


def online() -> bool:
    """Whether the host of the viewer's page answers within some seconds."""
    import socket
    from urllib.parse import urlsplit

    with without_file_manager():
        from itkwidgets.viewer_config import ITK_VIEWER_SRC
    try:
        socket.create_connection((urlsplit(ITK_VIEWER_SRC).netloc, 443), timeout=3).close()
    except OSError:
        return False
    return True


def _open(scene: Scene) -> None:
    import asyncio

    with without_file_manager():
        from itkwidgets import view
        from itkwidgets.cell_watcher import CellWatcher
    from ngff_zarr import to_ngff_image

    def with_spacing(array: Any) -> Any:
        return to_ngff_image(array, dims=("z", "y", "x"), scale=dict(zip("zyx", scene.spacing, strict=True)))

    layers = {} if scene.truth is None else {"label_image": with_spacing(scene.truth.astype("uint8"))}
    watcher = CellWatcher()
    opened: list[str] = []

    def release() -> None:
        for name in {*opened, *watcher.viewers.not_created}:
            watcher.update_viewer_status(name, True)

    try:
        viewer = view(image=with_spacing(scene.image), **layers)
        opened.append(viewer.name)
    finally:
        release()
    asyncio.get_running_loop().call_later(PATIENCE, release)


@contextmanager
def without_file_manager() -> Iterator[None]:
    """Let `import imjoy_elfinder` succeed where it is not installed."""
    name = "imjoy_elfinder"
    missing = importlib.util.find_spec(name) is None
    if missing:
        sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        if missing:
            del sys.modules[name]
