"""Axes are swapped and flipped as ITK's own orienter does it, and the way back is exact."""

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk

from dsnotes.data.geometry import Geometry

AXES = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def rotation(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def image_of(direction: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(np.arange(2 * 3 * 4, dtype="i2").reshape(2, 3, 4))
    image.SetSpacing((0.7, 0.8, 5.0))
    image.SetOrigin((-3.0, 20.0, 100.0))
    image.SetDirection(direction.ravel().tolist())
    return image


def geometry_of(image: sitk.Image) -> Geometry:
    return Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


@pytest.mark.parametrize("degrees", [0, 20])
@pytest.mark.parametrize(("order", "signs"), AXES)
def test_all_48_orientations_against_itk(order, signs, degrees):
    axes = np.eye(3)[:, order] * signs
    image = image_of(rotation(degrees) @ axes)
    geometry, array = geometry_of(image), sitk.GetArrayFromImage(image)
    oriented = sitk.DICOMOrient(image, "LPS")
    ours = geometry.canonical(array)
    np.testing.assert_array_equal(ours, sitk.GetArrayFromImage(oriented))
    assert geometry.array_spacing == oriented.GetSpacing()[::-1]
    assert geometry.space == ours.shape
    np.testing.assert_array_equal(geometry.as_filed(ours), array)


def test_channels_stay_in_front():
    geometry = geometry_of(image_of(np.eye(3)[:, [2, 0, 1]] * (1, -1, -1)))
    array = np.random.default_rng(0).random((5, 2, 3, 4))
    assert geometry.canonical(array).shape == (5, *geometry.space)
    np.testing.assert_array_equal(geometry.as_filed(geometry.canonical(array)), array)
