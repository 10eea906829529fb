"""`dsnotes.show`: one call that adapts to where it runs and leaves one picture in the saved notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dsnotes.data.case import Case, require_case
from dsnotes.viewers import notebook_display
from dsnotes.viewers.itk import itk
from dsnotes.viewers.scene import Overlay, compose
from dsnotes.viewers.view import View, sliders, still
from dsnotes.viewers.volume import volume

VIEWERS = {"still": still, "slices": sliders, "volume": volume, "itk": itk}


def show(
    case: Case,
    *,
    prediction: Overlay | None = None,
    soft: Overlay | None = None,
    readers: bool | Mapping[str, Overlay] | Sequence[Overlay] | np.ndarray = False,
    names: Mapping[int, str] | None = None,
    window: str | tuple[float, float] | None = None,
    channel: int = 0,
    at: tuple[int, ...] | None = None,
    zoom: float | None = None,
    title: str | None = None,
    viewer: str | None = None,
) -> View:
    """Look at a case: the truth solid, the prediction dashed, readers thin, a soft mask as a veil with level lines.

    In a browser a volume can be turned by hand and a slice has sliders; a head-less run is given the still picture
    alone, three planes and the body, and never waits. `viewer` decides before the environment variable DSNOTES_VIEWER,
    and that before the place: "volume" (NiiVue), "slices" (sliders), "itk" (itkwidgets, where it is installed and has a
    network) or "still". Every choice leaves the still picture in the saved notebook.

    `window` is "lung", "soft", "bone", "label" (fitted to the grey values on and near the label) or (lowest, highest),
    and by default holds 99 % of the voxels. `at` is the voxel the planes go through, by default in the lesion; `zoom`
    shows only so many mm on every side of it. `readers=True` takes the readers that the case brings along.
    """
    require_case(case)
    choice = notebook_display.choose(viewer, VIEWERS, volume=len(case.spacing) == 3)
    scene = compose(
        case,
        prediction=prediction,
        soft=soft,
        readers=readers,
        names=names,
        window=window,
        channel=channel,
        title=title,
    )
    return VIEWERS[choice](scene, at=at, zoom=zoom)
