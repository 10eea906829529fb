"""Optional viewer itkwidgets; it needs internet access, because its viewer is fetched each time.

Importing itkwidgets makes every later cell wait until a viewer in the browser reports that it is ready. Without
internet none does, and the notebook hangs. So the viewer is marked as ready as soon as it exists, later waits are
released after `PATIENCE` seconds, and a headless run never imports it.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from dsnotes.viewers import notebook_display
from dsnotes.viewers.scene import Scene
from dsnotes.viewers.view import View, still

PATIENCE = 20  # seconds until the queue is released once more


def itk(scene: Scene, *, at: tuple[int, ...] | None = None, zoom: float | None = None) -> View:
    """The itkwidgets viewer above the still picture; or only the picture, and one line that says why."""
    if reason := why_not(scene):
        print(f"itkwidgets is left out: {reason}.")
        return still(scene, at=at, zoom=zoom)
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


def _open(scene: Scene) -> None:
    import asyncio

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
