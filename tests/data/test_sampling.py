"""An epoch of slices or of a grid shows everything once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from dsnotes.data.case import Case
from dsnotes.data.patches import gather
from dsnotes.data.sampling import place_of, shuffled, units


def volume(name: str, *, space=(5, 12, 10), marked=(1, 3)) -> Case:
    """Every voxel holds its own number, so that a patch says which voxels it has."""
    label = np.zeros(space, np.uint8)
    for z in marked:
        label[z, 4:6, 4:6] = 1
    return Case(name, np.arange(np.prod(space), dtype=np.float32).reshape(space), label, (1.0, 1.0, 1.0))


def seen(cases, found, patch) -> Counter:
    generator = torch.Generator().manual_seed(0)
    places = [place_of(cases, unit, patch=patch, generator=generator) for unit in found]
    images = gather(places, patch=patch)["image"]
    return Counter(
        (place.case.name, v) for place, image in zip(places, images, strict=True) for v in image.ravel().tolist()
    )


def test_every_slice_comes_once_whole():
    cases = [volume("a"), volume("b", space=(3, 12, 10), marked=(0,))]
    found = units(cases, patch=(12, 10), epoch="slices")
    assert len(found) == 5 + 3
    assert seen(cases, found, (12, 10)) == Counter((c.name, v) for c in cases for v in c.image.ravel().tolist())


def test_only_slices_with_foreground_where_the_paper_drops_the_others():
    cases = [volume("a", marked=(1, 3)), volume("b", marked=())]
    found = units(cases, patch=(12, 10), epoch="slices", positive_only=True)
    assert found == [(0, (1,)), (0, (3,))]
    with pytest.raises(ValueError, match=r"none of the 1 cases .*positive_only=False"):
        units(cases[1:], patch=(12, 10), epoch="slices", positive_only=True)


def test_within_a_slice_larger_than_the_patch_the_place_is_drawn():
    case = volume("a")
    generator = torch.Generator().manual_seed(1)
    places = [place_of([case], (units([case], patch=(6, 5), epoch="slices"))[2], patch=(6, 5), generator=generator)
              for _ in range(40)]  # fmt: skip
    assert {place.start[0] for place in places} == {2}
    assert len({place.start for place in places}) > 10
    assert all(0 <= row <= 6 and 0 <= column <= 5 for _, row, column in (place.start for place in places))


def test_a_grid_covers_every_voxel_and_drops_empty_patches_where_asked():
    case = volume("a")
    found = units([case], patch=(2, 6, 5), epoch="grid")
    assert len(found) == 3 * 2 * 2
    assert set(seen([case], found, (2, 6, 5))) == {("a", v) for v in case.image.ravel().tolist()}
    positive = units([case], patch=(2, 6, 5), epoch="grid", positive_only=True)
    held = [case.label[z : z + 2, y : y + 6, x : x + 5].any() for _, (z, y, x) in found]
    assert positive == [unit for unit, any_ in zip(found, held, strict=True) if any_]
    assert 0 < len(positive) < len(found)


def test_slices_of_a_patch_with_three_axes_are_refused():
    with pytest.raises(ValueError, match=r"patch \(2, 6, 5\) has 3 axes. Pass epoch='grid'"):
        units([volume("a")], patch=(2, 6, 5), epoch="slices")


def test_slices_of_plain_images_are_the_images():
    images = [
        Case(str(i), np.zeros((8, 8), np.float32), np.full((8, 8), i % 2, np.uint8), (1.0, 1.0)) for i in range(4)
    ]
    assert units(images, patch=(8, 8), epoch="slices") == [(i, ()) for i in range(4)]
    assert units(images, patch=(8, 8), epoch="slices", positive_only=True) == [(1, ()), (3, ())]


def test_each_pass_has_an_order_of_its_own():
    orders = [shuffled(20, turn, torch.Generator().manual_seed(3)) for turn in range(3)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert shuffled(20, 1, torch.Generator().manual_seed(3)) == orders[1]
