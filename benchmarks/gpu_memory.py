"""Does `fit` know beforehand what a step will take, and does what it recommends under a cap fit there?"""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from dsnotes.training.sizes import GB, Sizes, TooLargeError, refuse_too_large, step_bytes
from gpu_speed import held
from gpu_systems import SUBJECTS, Scale, at_scale, batch_for

SIZED = ["system at its paper's sizes", "said before, GB", "then measured, GB", "a cap, GB", "recommended, tried again"]


def sized(key: str, device: str, scale: Scale) -> Iterator[list]:
    """The dry step's answer beside a real step's peak; then three fifths of it as a cap."""
    subject, place = SUBJECTS[key], torch.device(device)
    system = at_scale(subject, scale)
    system.network.to(place)
    settings = system.settings
    batch = {name: value.to(place) for name, value in batch_for(settings).items()}
    how = {"amp": torch.bfloat16}
    asked = Sizes(settings.patch, settings.batch, 1, checkpointing=False)
    said = step_bytes(system, settings, batch, asked, room=1e15, **how)
    try:
        refuse_too_large(system, settings, lambda: batch, device=place, limit=0.6 * said / GB, **how)
        recommended = "nothing was refused"
    except TooLargeError as error:
        recommended = "; ".join(tried(system, settings, batch, str(error), 0.6 * said, how)) or "nothing fits"
    step = system.make_step(system, settings, **how)
    step(batch)
    weights = 0 if place.type == "cuda" else sum(p.nbytes for p in system.network.parameters())
    optimiser = sum(v.nbytes for s in step.optimisers["network"].state.values() for v in s.values() if v.ndim)
    measured = held(lambda: step(batch), place) + (weights + optimiser if place.type != "cuda" else 0)
    yield [subject.sized(settings), f"{said / GB:.3g}", f"{measured / GB:.3g}", f"{0.6 * said / GB:.3g}", recommended]


def tried(system, settings, batch: dict, said: str, room: float, how: dict) -> Iterator[str]:
    found = r"patch=\(([\d, ]+)\), batch=(\d+), accumulate=(\d+)(, checkpointing=True)?"
    for patch, samples, accumulate, again in re.findall(found, said.partition("These do")[2]):
        space = tuple(int(n) for n in patch.split(",") if n.strip())
        sizes = Sizes(space, int(samples), int(accumulate), checkpointing=bool(again))
        taken = step_bytes(system, settings, batch, sizes, room=room, **how)
        yield f"{sizes}: {'**does not fit**' if taken is None else f'{taken / GB:.3g} GB'}"
