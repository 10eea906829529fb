"""A case refuses what would go wrong later, and says what to do about it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dsnotes.data.case import Case, class_indices, require_finite


def cube(**fields) -> Case:
    given = {"name": "a", "image": np.zeros((4, 5, 6), "f4"), "label": None, "spacing": (5.0, 0.8, 0.8)}
    return Case(**given | fields)


def test_grid_and_channels():
    volume, modalities, picture = (
        cube(),
        cube(image=np.zeros((2, 4, 5, 6), "f4")),
        cube(image=np.zeros((4, 5), "f4"), spacing=(1.0, 1.0)),
    )
    assert (volume.space, volume.channels) == ((4, 5, 6), 1)
    assert (modalities.space, modalities.channels) == ((4, 5, 6), 2)
    assert (picture.space, picture.channels) == ((4, 5), 1)


def test_plain_numbers_become_what_the_rest_expects():
    case = cube(image=np.zeros((4, 5, 6), "i2"), label=np.ones((4, 5, 6), bool), spacing=(5, 1, np.float64(1)))
    assert case.image.dtype == np.float32
    assert case.label.dtype == np.uint8
    assert case.label.max() == 1
    assert case.spacing == (5.0, 1.0, 1.0)
    assert {type(mm) for mm in case.spacing} == {float}
    assert cube(label=np.full((4, 5, 6), 255.0)).label.max() == 255


def test_two_cases_with_the_same_voxels_are_two_keys():
    first, second = cube(), cube()
    assert len({first: 1, second: 2}) == 2
    assert first != replace(first)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0,), (1.0, 1.0, 0.0), (1.0, -1.0, 1.0), (1.0, float("nan"), 1.0)])
def test_spacing(spacing):
    with pytest.raises(ValueError, match=r"case a: .*spacing.*(such as|where the voxel size is unknown)"):
        cube(image=np.zeros((1, 2, 4, 5), "f4"), spacing=spacing)


def test_an_empty_axis():
    with pytest.raises(ValueError, match=r"shape \(4, 0, 6\).*no axis may be empty"):
        cube(image=np.zeros((4, 0, 6), "f4"))


def test_a_label_on_another_grid():
    with pytest.raises(ValueError, match=r"the label has the grid \(4, 5\), the image \(4, 5, 6\)\. .*resample"):
        cube(label=np.zeros((4, 5), "u1"))


@pytest.mark.parametrize("extra", ["alpha", "soft", "readers"])
def test_extras_on_another_grid(extra):
    cube(extras={extra: np.zeros((3, 4, 5, 6))})
    with pytest.raises(ValueError, match=rf"the {extra} has the grid \(3, 4, 5\), the image \(4, 5, 6\)"):
        cube(extras={extra: np.zeros((3, 4, 5))})


def test_readers_in_a_list_lie_on_the_grid_each():
    mask = np.zeros((4, 5, 6), "u1")
    cube(extras={"readers": [mask, mask]})
    with pytest.raises(ValueError, match=r"the readers\[1\] has the grid \(3, 5, 6\), the image \(4, 5, 6\)"):
        cube(extras={"readers": [mask, mask[1:]]})


def test_a_complex_image_is_answered_with_the_magnitude():
    with pytest.raises(ValueError, match=r"case a: the image has dtype complex64; .*Pass the magnitude, numpy\.abs"):
        cube(image=np.zeros((4, 5, 6), "c8"))
    with pytest.raises(ValueError, match=r"the image has dtype <U1; .*image\.astype"):
        cube(image=np.full((4, 5, 6), "x"))


def test_tensors_are_taken_as_the_arrays_they_hold():
    image, label = torch.rand(4, 5, 6, requires_grad=True), torch.ones(4, 5, 6, dtype=torch.int64)
    case = cube(image=image, label=label, extras={"soft": label.float(), "readers": label.bool()[None]})
    np.testing.assert_array_equal(case.image, image.detach().numpy())
    assert (case.label.dtype, case.label.min()) == (np.uint8, 1)
    assert {type(extra) for extra in case.extras.values()} == {np.ndarray}
    assert cube(image=image.bfloat16()).image.dtype == np.float32
    with pytest.raises(ValueError, match=r"the soft has the grid \(5, 6\)"):
        cube(extras={"soft": torch.ones(5, 6)})


@pytest.mark.parametrize("spacing", [[5, 1, 1], np.array([5, 1, 1]), torch.tensor([5, 1, 1])])
def test_any_sequence_of_numbers_is_a_spacing(spacing):
    assert cube(spacing=spacing).spacing == (5.0, 1.0, 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_counted_and_placed(value):
    image = np.zeros((4, 5, 6), "f4")
    image[1, 2, 3] = image[3, 0, 0] = value
    with pytest.raises(ValueError, match=r"case a: 2 of 120 voxels are NaN or infinite, the first at \(1, 2, 3\)"):
        cube(image=image)


def test_infinities_that_cancel_are_found():
    image = np.zeros((4, 5, 6), "f4")
    image[0, 0, 0], image[0, 0, 1] = np.inf, -np.inf
    with pytest.raises(ValueError, match=r"2 of 120 voxels"):
        cube(image=image)


def test_a_value_too_large_for_float32_is_named_as_infinite():
    with pytest.raises(ValueError, match=r"1 of 120 voxels are NaN or infinite, the first at \(0, 0, 0\) \(inf\)"):
        cube(image=np.array([1e300, *[0.0] * 119]).reshape(4, 5, 6))


def test_large_but_finite_values_pass():
    require_finite(np.full((4, 5, 6), 3e38, "f4"), "large")


def test_a_memory_map_is_not_read(tmp_path):
    """Its voxels were checked when they were cached; a NaN planted since shows that nobody looked."""
    np.save(tmp_path / "image.npy", np.full((4, 5, 6), np.nan, "f4"))
    assert isinstance(cube(image=np.load(tmp_path / "image.npy", mmap_mode="r")).image, np.memmap)


@pytest.mark.parametrize(
    ("values", "named"), [([0.5, 1.0], "0.5"), ([-1, 1], "-1"), ([0, 300], "300"), ([np.nan, 0.0], "nan")]
)
def test_label_values(values, named):
    with pytest.raises(ValueError, match=rf"here: the label holds {named} in 1 voxels; .*from 0 to 255.*extras"):
        class_indices(np.array(values), "here")


def test_a_label_of_text():
    with pytest.raises(ValueError, match=r"the label has dtype <U1"):
        class_indices(np.array(["a"]), "here")
