"""Whether `fit` was handed a system, before anything looks into it."""

from __future__ import annotations

from dsnotes.training.system import System


def refuse_no_system(system: object) -> None:
    if isinstance(system, str):
        raise TypeError(f"{system!r} is a name, fit trains what was built. Pass dsnotes.build({system!r}).")
    if not isinstance(system, System):
        raise TypeError(
            f"fit trains a System, and a {type(system).__name__} came. Pass one that was built, such as "
            f"dsnotes.build('unet-2d'), or dsnotes.system(name, backbone, objective)."
        )
