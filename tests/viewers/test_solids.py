"""The 3-D picture against what geometry says of spheres."""

from __future__ import annotations

import numpy as np
import pytest

from dsnotes.viewers.solids import BACKGROUND, Body, render

ORANGE, BLUE = (1.0, 0.6, 0.0), (0.0, 0.4, 1.0)


def ball(shape, spacing, radius, centre=None) -> np.ndarray:
    centre = [(n - 1) / 2 * mm for n, mm in zip(shape, spacing, strict=True)] if centre is None else centre
    grids = np.meshgrid(*(np.arange(n) * mm for n, mm in zip(shape, spacing, strict=True)), indexing="ij")
    return sum((grid - at) ** 2 for grid, at in zip(grids, centre, strict=True)) <= radius**2


def silhouette(rendered) -> np.ndarray:
    return np.abs(rendered.picture - BACKGROUND).max(-1) > 0.02


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.8, 0.8)])
def test_a_sphere_is_a_disc_of_its_own_size_from_every_side(spacing):
    radius = 13.2
    shape = tuple(int(36 / mm) for mm in spacing)
    for azimuth, elevation in ((0, 0), (35, 18), (120, -40)):
        rendered = render(
            [Body(ball(shape, spacing, radius), ORANGE, 1.0)], spacing=spacing, azimuth=azimuth, elevation=elevation
        )
        disc = silhouette(rendered)
        area = disc.sum() * (rendered.width / len(disc)) ** 2
        assert area == pytest.approx(np.pi * radius**2, rel=0.08)
        rows, columns = (np.flatnonzero(disc.any(axis)) for axis in (1, 0))
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), rel=0.15)


def test_the_light_comes_from_the_upper_left():
    picture = render([Body(ball((32,) * 3, (1.0,) * 3, 12), ORANGE, 1.0)], spacing=(1.0,) * 3).picture[..., 0]
    half = len(picture) // 2
    third = len(picture) // 6
    assert picture[half - third, half - third] > 1.3 * picture[half + third, half + third]


def test_upwards_in_depth_is_upwards_in_the_picture_and_the_right_stays_right():
    shape, spacing = (40, 40, 40), (1.0, 1.0, 1.0)
    head = Body(ball(shape, spacing, 5, (33, 20, 20)), ORANGE, 1.0)
    side = Body(ball(shape, spacing, 5, (20, 20, 33)), BLUE, 1.0)
    picture = render([head, side], spacing=spacing, azimuth=0, elevation=0).picture
    above, right = picture[..., 0] > 0.3, picture[..., 2] > 0.3
    assert np.argwhere(above).mean(0)[0] < np.argwhere(right).mean(0)[0]
    assert np.argwhere(above).mean(0)[1] < np.argwhere(right).mean(0)[1]


def test_the_nearer_body_hides_the_farther_whatever_the_order():
    shape, spacing = (30, 60, 30), (1.0, 1.0, 1.0)
    front = Body(ball(shape, spacing, 8, (15, 12, 15)), ORANGE, 1.0)
    back = Body(ball(shape, spacing, 8, (15, 48, 15)), BLUE, 1.0)
    for order in ([front, back], [back, front]):
        picture = render(order, spacing=spacing, azimuth=0, elevation=0).picture
        red, _, blue = picture[len(picture) // 2, len(picture) // 2]
        assert red > blue


def test_a_pale_shell_lets_the_core_shine_through():
    shape, spacing = (40, 40, 40), (1.0, 1.0, 1.0)
    shell = Body(ball(shape, spacing, 16), ORANGE, 0.4)
    core = Body(ball(shape, spacing, 6), BLUE, 1.0)
    middle = [render(bodies, spacing=spacing).picture[60, 60, 2] for bodies in ([shell], [shell, core])]
    assert middle[1] > middle[0] + 0.1


def test_a_large_volume_is_averaged_first_and_keeps_its_size():
    mask = np.zeros((200, 340, 200), bool)
    mask[10:190, 10:330, 10:190] = True
    rendered = render([Body(mask, ORANGE, 1.0)], spacing=(1.0, 1.0, 1.0), azimuth=0, elevation=0)
    disc = silhouette(rendered)
    assert disc.sum() * (rendered.width / len(disc)) ** 2 == pytest.approx(180 * 180, rel=0.06)


def test_one_voxel_is_seen():
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, 4] = True
    assert silhouette(render([Body(mask, ORANGE, 1.0)], spacing=(2.0, 1.0, 1.0))).any()


def test_nothing_to_render_is_said():
    with pytest.raises(ValueError, match="no body holds a voxel, so there is nothing to render: leave empty labels"):
        render([Body(np.zeros((4, 4, 4), bool), ORANGE, 1.0)], spacing=(1.0, 1.0, 1.0))
