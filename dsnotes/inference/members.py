"""The predictions behind a mean: one per network of an ensemble and per mirrored view, to see how far they spread.

Deep ensembles: Lakshminarayanan et al. 2017, https://arxiv.org/abs/1612.01474.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, combinations

import numpy as np

from dsnotes.data.case import Case, require_case
from dsnotes.inference.predict import predict
from dsnotes.shapes import Float32
from dsnotes.training.system import System


def predict_members(
    systems: System | Sequence[System], case: Case, *, mirror: bool = False, **options: object
) -> Float32[np.ndarray, "members classes *space"]:
    """(members, K, *space) probabilities of systems trained with different seeds, and of mirrored views.

    Their mean over members is the ensemble's prediction, their standard deviation its spread. `mirror=True` adds the
    views mirrored along all axes of the network: 4 per system in 2-D, 8 in 3-D. `options` are those of `predict`.
    """
    require_case(case)
    systems = [systems] if isinstance(systems, System) else list(systems)
    if not systems:
        raise ValueError("no system came. Pass a trained system, or several: predict_members([first, second], case).")
    if kinds := sorted({system.classes for system in systems} - {systems[0].classes}):
        raise ValueError(f"the systems have {systems[0].classes} and {kinds} classes. Pass systems of one task.")
    members = []
    for system in systems:
        axes = range(-system.dims, 0) if mirror else ()
        for flipped in chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)):
            view = replace(case, image=np.ascontiguousarray(np.flip(case.image, flipped)), label=None, extras={})
            members.append(np.flip(predict(system, view, **options), flipped))
    return np.stack(members)
