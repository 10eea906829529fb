"""Patches: what is drawn holds what was asked for, and costs no more than it."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsnotes.data.case import Case
from dsnotes.data.patches import crop, crop_to, draw_batch, draw_places, gather, pad_to, tiles, validation_batches


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def case_of(label: np.ndarray, name: str = "a", **extras) -> Case:
    """Every voxel of the image says where it lies, so that a patch tells where it comes from."""
    image = np.arange(1, label.size + 1, dtype=np.float32).reshape(label.shape)
    return Case(name, image, label, (1.0,) * label.ndim, extras)


def dotted(space: tuple[int, ...], *voxels: tuple[int, ...], name: str = "a", **extras) -> Case:
    label = np.zeros(space, "u1")
    for value, voxel in enumerate(voxels, start=1):
        label[voxel] = value
    return case_of(label, name, **extras)


LABELS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=12), elements=st.integers(0, 3))


@given(LABELS, st.tuples(*[st.integers(1, 14)] * 3), st.integers(0, 1000))
def test_a_forced_patch_holds_foreground_and_lies_on_the_image(label, patch, seed):
    case = case_of(label)
    if not label.any():
        return
    batch = draw_batch([case], patch=patch, batch=3, foreground=1.0, generator=seeded(seed), pad=0)
    assert batch["image"].shape == (3, 1, *patch)
    assert batch["image"].dtype == torch.float32
    assert batch["label"].shape == (3, *patch)
    assert batch["label"].dtype == torch.int64
    for image, found in zip(batch["image"][:, 0], batch["label"], strict=True):
        assert found.any()
        index, at = np.unique(image.long().numpy(), return_index=True)
        at, index = at[index > 0], index[index > 0]
        assert len(index) == np.prod(np.minimum(patch, label.shape))  # all of the overlap, nothing twice
        np.testing.assert_array_equal(found.numpy().ravel()[at], label.ravel()[index - 1])


@given(st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 99))
def test_a_patch_is_the_padded_volume_cut_where_the_place_says(space, patch, seed):
    """The oracle is NumPy's pad round everything, then a plain slice."""
    case = case_of(np.ones(space, "u1"))
    (place,) = draw_places([case], patch=patch, batch=1, foreground=0.0, generator=seeded(seed))
    for pad, how in (("edge", {"mode": "edge"}), ("minimum", {"mode": "minimum"}), (-7.0, {"constant_values": -7.0})):
        padded = np.pad(case.image, 9, **how)
        expected = padded[tuple(slice(s + 9, s + 9 + p) for s, p in zip(place.start, patch, strict=True))]
        if pad == "minimum":  # NumPy takes the minimum of a line, we of the volume
            expected = np.where(expected != crop(case.image, place.start, patch, pad=0.0), 1.0, expected)
        found = gather([place], patch=patch, pad=pad)["image"][0, 0].numpy()
        np.testing.assert_array_equal(found, expected)


def test_a_volume_smaller_than_the_patch_lies_in_its_middle():
    case = Case("a", np.full((2, 3, 4), 5.0, "f4"), np.ones((2, 3, 4), "u1"), (1.0, 1.0, 1.0))
    case.image[0, 0, 0] = -3
    batch = draw_batch([case], patch=(4, 4, 4), batch=1, foreground=1.0, generator=seeded())
    np.testing.assert_array_equal(batch["image"][0, 0, 1:3, 0:3, :].numpy(), case.image)
    assert batch["label"].sum() == 24
    assert (batch["image"] == -3).sum() == 64 - 24 + 1


def test_the_minimum_is_that_of_the_channel():
    image = np.stack([np.full((2, 2), 1.0), np.full((2, 2), -9.0)]).astype("f4")
    case = Case("a", image, np.ones((2, 2), "u1"), (1.0, 1.0))
    batch = draw_batch([case], patch=(4, 4), batch=1, foreground=0.0, generator=seeded())
    assert batch["image"][0].amin((1, 2)).tolist() == batch["image"][0].amax((1, 2)).tolist() == [1.0, -9.0]


@pytest.mark.parametrize(
    ("foreground", "batch", "forced"),
    [(1 / 3, 2, 1), (1 / 3, 3, 1), (0.34, 3, 2), (1, 4, 4), (0, 4, 0), (0.07, 100, 7), (1 / 3, 1, 1)],
)
def test_how_many_places_are_forced(foreground, batch, forced):
    """The first ceil(share × batch): a patch of one voxel is foreground only where it was forced to be."""
    case = dotted((50, 50, 50), (7, 8, 9))
    drawn = draw_batch([case], patch=(1, 1, 1), batch=batch, foreground=foreground, generator=seeded())
    assert drawn["label"].flatten().tolist() == [1] * forced + [0] * (batch - forced)


def test_classes_are_drawn_evenly_and_voxels_of_a_class_too():
    """One tumour voxel beside 999 of the organ: it is met in every second patch."""
    label = np.zeros((10, 10, 20), "u1")
    label[:, :, :10] = 1
    label[0, 0, 0] = 2
    drawn = draw_batch([case_of(label)], patch=(1, 1, 1), batch=4000, foreground=1.0, generator=seeded())
    values, counts = drawn["label"].unique(return_counts=True)
    assert values.tolist() == [1, 2]
    assert abs(counts[1] / 4000 - 0.5) < 0.03
    organ = drawn["image"].flatten()[drawn["label"].flatten() == 1].long() - 1
    half = (organ // 200 < 5).float().mean()  # the first five slices hold 499 of the 999
    assert abs(half - 0.5) < 0.04


def test_uniform_places_reach_both_ends():
    case = dotted((4, 4, 6), (0, 0, 0))
    places = draw_places([case], patch=(4, 4, 3), batch=200, foreground=0.0, generator=seeded())
    assert {place.start for place in places} == {(0, 0, start) for start in range(4)}


def test_two_numbers_take_slices_of_volumes():
    case = dotted((6, 8, 8), (4, 1, 7))
    batch = draw_batch([case], patch=(3, 3), batch=2, foreground=0.5, generator=seeded())
    assert batch["image"].shape == (2, 1, 3, 3)
    assert batch["label"][0].sum() == 1
    slices = (batch["image"] - 1).long().flatten(1) // 64
    assert slices[0].unique().tolist() == [4]
    assert all(len(row.unique()) == 1 for row in slices)


def test_pictures_of_different_size_make_one_batch():
    cases = [dotted((9, 30), (4, 4), name="a"), dotted((40, 7), (30, 3), name="b")]
    batch = draw_batch(cases, patch=(16, 16), batch=8, foreground=1.0, generator=seeded())
    assert batch["image"].shape == (8, 1, 16, 16)
    assert (batch["label"].flatten(1).sum(1) == 1).all()


def test_the_same_seed_draws_the_same():
    cases = [dotted((9, 9, 9), (4, 4, 4), name=name) for name in "ab"]
    draws = [draw_batch(cases, patch=(4, 4, 4), batch=4, foreground=0.5, generator=seeded(s)) for s in (5, 5, 6)]
    assert torch.equal(draws[0]["image"], draws[1]["image"])
    assert not torch.equal(draws[0]["image"], draws[2]["image"])


def test_soft_masks_come_along():
    soft = np.random.default_rng(0).random((6, 6, 6)).astype("f4")
    case = dotted((6, 6, 6), (2, 2, 2), soft=soft)
    batch = draw_batch([case], patch=(4, 4, 4), batch=3, foreground=0.0, generator=seeded())
    assert batch["soft"].shape == (3, 1, 4, 4, 4)
    index = batch["image"].long() - 1
    np.testing.assert_array_equal(batch["soft"].numpy(), soft.ravel()[index.numpy()])
    several = dotted((6, 6, 6), (2, 2, 2), soft=np.stack([soft, 1 - soft]))
    assert draw_batch([several], patch=(8, 4), batch=3, foreground=0.0, generator=seeded())["soft"].shape == (
        3,
        2,
        8,
        4,
    )


def test_some_with_soft_masks_and_some_without():
    cases = [dotted((4, 4), (1, 1), soft=np.ones((4, 4), "f4")), dotted((4, 4), (1, 1), name="bare")]
    with pytest.raises(ValueError, match=r"others \(bare\) none, or the channels differ\. Give every case extras"):
        draw_batch(cases, patch=(4, 4), batch=20, foreground=0.0, generator=seeded())


def test_a_case_without_foreground_is_drawn_anywhere():
    cases = [dotted((8, 8), name="empty"), dotted((8, 8), (3, 3), name="full")]
    places = draw_places(cases, patch=(1, 1), batch=400, foreground=1.0, generator=seeded())
    assert len({place.start for place in places if place.case is cases[0]}) > 40
    assert {place.start for place in places if place.case is cases[1]} == {(3, 3)}


def test_no_foreground_anywhere():
    cases = [dotted((8, 8)), dotted((8, 8), name="b")]
    with pytest.raises(ValueError, match=r"none of the 2 labels holds any foreground.*pass foreground=0"):
        draw_batch(cases, patch=(4, 4), batch=2, foreground=0.5, generator=seeded())
    draw_batch(cases, patch=(4, 4), batch=2, foreground=0.0, generator=seeded())


@pytest.mark.parametrize(
    ("patch", "remedy"), [((4, 4, 4), r"patch=\(8, 9\)\."), ((4,), r"patch=\(8, 9\)"), ((4, 0), "positive")]
)
def test_patches_that_do_not_fit_a_picture(patch, remedy):
    with pytest.raises(ValueError, match=rf"the patch \(.*came for case a with the grid \(8, 9\).*{remedy}"):
        draw_batch([dotted((8, 9), (1, 1))], patch=patch, batch=2, foreground=0.5, generator=seeded())


def test_a_patch_of_one_number_on_a_volume():
    with pytest.raises(ValueError, match=r"patch=\(8, 64, 9\), or two for slices, such as patch=\(64, 9\)"):
        draw_batch([dotted((8, 99, 9), (1, 1, 1))], patch=(4,), batch=1, foreground=0.0, generator=seeded())


@pytest.mark.parametrize(("batch", "foreground"), [(0, 0.5), (2, -0.1), (2, 1.5)])
def test_batch_and_share(batch, foreground):
    with pytest.raises(ValueError, match=r"pass batch ≥ 1 and foreground from 0 to 1"):
        draw_batch([dotted((8, 9), (1, 1))], patch=(4, 4), batch=batch, foreground=foreground, generator=seeded())


def test_no_cases_no_label_other_channels_unknown_padding():
    with pytest.raises(ValueError, match=r"no cases to draw patches from: pass at least one"):
        draw_batch([], patch=(4, 4), batch=1, foreground=0.0, generator=seeded())
    bare = Case("bare", np.zeros((4, 4), "f4"), None, (1.0, 1.0))
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match=r"case bare has no label.*open_dataset\(folder, split='training'\)"):
            draw_batch([bare], patch=(4, 4), batch=1, foreground=share, generator=seeded())
    two = Case("two", np.zeros((2, 4, 4), "f4"), np.ones((4, 4), "u1"), (1.0, 1.0))
    with pytest.raises(ValueError, match=r"channels.*a batch needs equal channels"):
        draw_batch([two, dotted((4, 4), (1, 1))], patch=(4, 4), batch=20, foreground=0.0, generator=seeded())
    with pytest.raises(ValueError, match=r"pad='mirror': pass 'minimum', 'edge' or a number"):
        draw_batch([dotted((4, 4), (1, 1))], patch=(4, 4), batch=1, foreground=0.0, generator=seeded(), pad="mirror")


def test_a_memory_mapped_volume_is_not_read_as_a_whole(tmp_path):
    """A patch costs a patch: NaN planted in the rest of the map never shows up."""
    label = np.zeros((40, 16, 16), "u1")
    label[20, 8, 8] = 1
    image = np.full((40, 16, 16), np.nan, "f4")
    image[16:24] = 1
    np.save(tmp_path / "image.npy", image)
    case = Case("a", np.load(tmp_path / "image.npy", mmap_mode="r"), label, (1.0, 1.0, 1.0))
    batch = draw_batch([case], patch=(8, 8, 8), batch=4, foreground=1.0, generator=seeded())
    assert (batch["image"] == 1).all()


@given(st.tuples(*[st.integers(1, 20)] * 2), st.tuples(*[st.integers(1, 9)] * 2))
def test_tiles_cover_every_voxel_with_the_fewest(space, patch):
    case = case_of(np.ones(space, "u1"))
    places = tiles(case, patch)
    assert len(places) == np.prod([-(-n // p) for n, p in zip(space, patch, strict=True)])
    read = gather(places, patch=patch, pad=0.0)["image"]
    assert set(read.flatten().long().tolist()) - {0} == set(range(1, np.prod(space) + 1))


def test_tiles_of_slices():
    assert len(tiles(dotted((3, 8, 8)), (4, 8))) == 6


def test_validation_is_the_same_on_every_call_and_in_any_subset():
    cases = [dotted((12, 12, 12), (2, 3, 4), (9, 9, 9), name=name) for name in "abc"]
    draw = {"patch": (1, 1, 1), "batch": 4, "seed": 7, "per_case": 2}
    batches = list(validation_batches(cases, **draw))
    assert [batch["image"].shape[0] for batch in batches] == [4, 2]
    assert torch.cat([batch["label"] for batch in batches]).flatten().tolist() == [1, 2, 1, 2, 1, 2]
    again = list(validation_batches(cases, **draw))
    assert all(torch.equal(one["image"], two["image"]) for one, two in zip(batches, again, strict=True))

    empty = [dotted((12, 12, 12), name=name) for name in "abc"]
    whole = torch.cat([batch["image"] for batch in validation_batches(empty, **draw)])
    (part,) = validation_batches(empty[1:2], **draw)
    assert torch.equal(whole[2:4], part["image"])
    other = torch.cat([batch["image"] for batch in validation_batches(empty, **(draw | {"seed": 8}))])
    assert not torch.equal(whole, other)


@given(hnp.array_shapes(min_dims=2, max_dims=4, max_side=6), st.tuples(*[st.integers(1, 9)] * 2))
def test_pad_to_and_back(shape, size):
    array = np.random.default_rng(0).random(shape).astype("f4")
    wide = tuple(max(n, want) for n, want in zip(shape[-2:], size, strict=True))
    widths = [((want - n) // 2, want - n - (want - n) // 2) for n, want in zip(shape[-2:], wide, strict=True)]
    widths = [(0, 0)] * (len(shape) - 2) + widths
    for pad, oracle in (
        ("edge", np.pad(array, widths, mode="edge")),
        ("minimum", np.pad(array, widths, constant_values=array.min())),
        (2.0, np.pad(array, widths, constant_values=2)),
    ):
        padded = pad_to(array, size, pad=pad)
        np.testing.assert_array_equal(padded, oracle)
        np.testing.assert_array_equal(pad_to(torch.from_numpy(array), size, pad=pad).numpy(), oracle)
        np.testing.assert_array_equal(crop_to(padded, shape[-2:]), array)
