"""Parts common to chest and abdomen: body wall, spine, ribs, hollow organs and the scanner's table."""

from __future__ import annotations

import numpy as np

from dsnotes.data.phantoms.implicit_shapes import EVERYWHERE, ImplicitShape, capsule, within
from dsnotes.data.phantoms.scanner import (
    AIR,
    CARTILAGE,
    CORTEX,
    DISC,
    FAT,
    FLUID,
    MARROW,
    MUSCLE,
    SKIN,
    Canvas,
)


def barrel(y0: float, half_width: float, half_depth: float, power: float = 2.4) -> ImplicitShape:
    """An upright tube with rounded cross-section around (y0, 0); distances are measured along rays from its centre."""

    def distance(z, y, x):
        y = y - y0
        level = (np.abs(x / half_width) ** power + np.abs(y / half_depth) ** power) ** (1 / power) + 1e-9
        return np.hypot(y, x) * (1 - 1 / level) + 0 * z

    return ImplicitShape(distance, *EVERYWHERE)


def paint_table(canvas: Canvas, y: float) -> None:
    """Paint the scanner's table: a thin curved shell."""
    shell = ImplicitShape(
        lambda z, yy, x: np.abs(yy - y + 9e-4 * x * x) - 1.5 + 0 * z, (-1e4, y - 40, -1e4), (1e4, y + 3, 1e4)
    )
    canvas.paint(shell, -150.0)


def paint_wall(canvas: Canvas, body: ImplicitShape, muscle: ImplicitShape, rng: np.random.Generator) -> None:
    """Paint skin, subcutaneous fat, and two layers of muscle with fat between them."""
    canvas.paint_hollow(body, SKIN, 2.0, FAT + rng.normal(0, 6))
    wave, phase = rng.uniform(45, 70), rng.uniform(0, 6)
    coat = canvas.paint(muscle, MUSCLE + rng.normal(0, 6))
    z, y, x = canvas.grid.axes(coat.window)
    # fat between the layers, of varying depth and thickness
    middle = 6 + 2 * np.sin(2 * np.pi * (x - y + 0.4 * z) / wave + phase)
    thick = 0.9 + 0.8 * np.sin(2 * np.pi * (x + y) / (1.7 * wave))
    gap = np.abs(coat.distance + middle) - thick
    canvas.mix(coat._replace(share=np.clip(0.5 - gap / coat.cell, 0, 1)), FAT + 25)


def paint_spine(
    canvas: Canvas, rng: np.random.Generator, *, y: float, radii: tuple[float, float], pitch: float
) -> None:
    """Paint vertebral bodies (marrow in a cortical shell), discs, canal, arch, processes. `radii`: depth, width."""
    deep, wide = radii
    back = y + deep + 7.0  # centre of the canal
    shift = rng.uniform(0, pitch)

    def phase(z):  # distance from the centre of the nearest disc
        return np.abs((z + shift) % pitch - pitch / 2)

    def arch(z, yy, x):  # a ring around the canal with a spinous and two transverse processes, interrupted by joints
        behind = yy - back - 12
        ring = np.abs(np.hypot(yy - back, x) - 11.5) - 2.6
        spine = np.maximum(np.abs(x) - 2.8, np.abs(behind - 8) - 9)
        wing = np.maximum(np.abs(yy - back + 3 - 0.25 * np.abs(x)) - 3.0, np.abs(np.abs(x) - 19) - 9)
        return np.maximum(np.minimum(np.minimum(ring, spine), wing), 4.5 - phase(z + 0.5 * behind))

    whole = barrel(y, wide, deep, power=2.6)
    body = ImplicitShape(whole.distance, (-1e4, y - deep - 3, -wide - 3), (1e4, y + deep + 3, wide + 3))
    bone = ImplicitShape(lambda z, yy, x: np.maximum(body.distance(z, yy, x), 3.2 - phase(z)), body.low, body.high)
    canvas.paint(ImplicitShape(arch, (-1e4, back - 14, -40.0), (1e4, back + 34, 40.0)), 380.0 + rng.normal(0, 40))
    canvas.paint(body, DISC)
    canvas.paint_hollow(bone, CORTEX * 0.75, 2.2, MARROW + rng.normal(0, 35))
    canvas.paint(capsule((-1e4, back, 0), (1e4, back, 0), 8.0), FLUID + 20)


def ribs(
    cage: ImplicitShape,
    *,
    pitch: float,
    shift: float,
    thick: float,
    tall: float,
    slope: float,
    clear: float,
    droop: float = 0.0,
) -> ImplicitShape:
    """Rods around the cage, `clear` mm off its inside, falling `slope` mm per mm from back to front and `droop` from
    the middle to the side."""

    def distance(z, y, x):
        out = cage.distance(z, y, x) - clear - thick / 2
        up = (z - slope * y + shift + droop * np.abs(x)) % pitch - pitch / 2
        u, v = (2 * out / thick) ** 2, (2 * up / tall) ** 2 / (1 + slope**2 + droop**2)
        k0 = np.sqrt(u + v)
        k1 = np.sqrt(u * (2 / thick) ** 2 + v * (2 / tall) ** 2)
        return k0 * (k0 - 1) / np.maximum(k1, 1e-9)

    return ImplicitShape(distance, *EVERYWHERE)


def paint_ribs(canvas: Canvas, rods: ImplicitShape, *, front: float | None = None) -> None:
    """Paint ribs: a shell of dense bone around marrow, and cartilage in front of y = `front`."""
    canvas.paint_hollow(rods, CORTEX, 1.8, MARROW + 30)
    if front is not None:
        before = ImplicitShape(lambda z, y, x: y - front + 0 * (z + x), (-1e4,) * 3, (1e4, front + 4, 1e4))
        canvas.paint(within(before, rods), CARTILAGE)


def paint_hollow_organ(
    canvas: Canvas,
    form: ImplicitShape,
    wall: float,
    inside: float | np.ndarray,
    *,
    thick: float = 2.2,
    gas: float = 0,
) -> None:
    """Paint a wall, its contents (a number or a field over the grid), and gas in the front fraction `gas`."""
    inner = canvas.paint(form, wall).peeled(thick)
    canvas.mix(inner, inside[inner.window] if isinstance(inside, np.ndarray) else inside)
    if gas:
        y = canvas.grid.axes(inner.window)[1]
        level = form.low[1] + gas * (form.high[1] - form.low[1])
        bubble = np.minimum(inner.share, np.clip(0.5 - (y - level) / inner.cell, 0, 1))
        canvas.mix(inner._replace(share=bubble), AIR + 40)
