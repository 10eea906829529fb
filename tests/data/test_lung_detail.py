"""The lungs' small structures: vessels by Murray's law out to the pleura, avascular fissures, a picture of air."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from dsnotes.data import phantoms
from dsnotes.data.phantoms.lung_detail import THINNEST, supplied
from dsnotes.data.phantoms.vessels import Segments


@cache
def chests():
    return phantoms.lung(3, seed=5)


@pytest.fixture
def branches():
    """A trunk of one vessel at the origin and sixty places to supply."""
    rng = np.random.Generator(np.random.PCG64(0))
    ends = rng.uniform(-40, 40, (60, 3))
    zero = np.zeros((1, 3))
    return ends, supplied(rng, Segments(zero - 1, zero, np.ones(1), np.ones(1)), ends)


def test_every_place_is_reached(branches):
    ends, found = branches
    for end in ends:
        assert np.abs(found.end - end).sum(1).min() == pytest.approx(0, abs=1e-9)


def test_where_vessels_branch_the_cubes_of_their_radii_add_up(branches):
    _, found = branches
    checked = 0
    for end, radius in zip(found.end, found.last, strict=True):
        children = found.last[np.abs(found.start - end).sum(1) < 1e-9]
        if len(children):
            assert radius**3 == pytest.approx((children**3).sum())
            checked += len(children) > 1
        else:
            assert radius == pytest.approx(THINNEST)
    assert checked > 5


def test_half_a_chests_lung_has_vessels_close_to_the_pleura():
    """Within 12 mm of the pleura there are voxels clearly brighter than the tissue around them, on both sides."""
    for case in chests():
        lungs = case.extras["lungs"] > 0
        depth = ndimage.distance_transform_edt(lungs) * case.spacing[0]
        rind = (depth > 6) & (depth < 14) & (case.extras["alpha"] == 0)
        local = case.image - ndimage.median_filter(case.image, 5)
        assert (local[rind] > 120).mean() > 0.01
        assert np.median(case.image[rind]) < -800


def test_the_lungs_are_as_dark_and_as_noisy_as_real_ones():
    """Real lungs are -890 ± 55 HU, and CT noise has 15-45 HU: the median, and the robust spread, away from vessels."""
    for case in chests():
        inside = ndimage.binary_erosion(case.extras["lungs"], iterations=2) & (case.extras["alpha"] == 0)
        low, middle, high = np.percentile(case.image[inside], (16, 50, 84))
        assert -945 < middle < -835
        assert 30 < middle - low < 75
        assert high - middle < 160
