"""The phantoms against geometry worked out by brute force, and against what real scans show."""

from __future__ import annotations

import hashlib
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from dsnotes.data import phantoms
from dsnotes.data.phantoms.grid import Grid, filled
from dsnotes.data.phantoms.implicit_shapes import ImplicitShape, capsule, ellipsoid, union
from dsnotes.data.phantoms.lesions import spiked, tumour
from dsnotes.data.phantoms.scanner import FAT, LUNG, MUSCLE, Canvas, Protocol

MAKERS = {
    "lung": lambda n, **how: phantoms.lung(n, **{"size": (32, 48, 48)} | how),
    "kidneys": lambda n, **how: phantoms.kidneys(n, **{"size": (16, 48, 48)} | how),
    "abdomen": lambda n, **how: phantoms.abdomen(n, **{"size": (16, 48, 48)} | how),
    "nodules": lambda n, **how: phantoms.nodules(n, **how),
    "nodules in 3-D": lambda n, **how: phantoms.nodules(n, **{"dims": 3, "size": 40} | how),
}
every_kind = pytest.mark.parametrize("kind", MAKERS)


@cache
def many(kind):
    """Enough for averages; made once."""
    n = {"lung": 6, "kidneys": 16, "abdomen": 6, "nodules": 48, "nodules in 3-D": 12}[kind]
    return MAKERS[kind](n)


def cases(kind, n=6):
    return many(kind)[:n]


@cache
def fine_nodules():
    """One of each kind on 192 × 192 pixels where usually there are 64 × 64."""
    return phantoms.nodules(4, size=192, spacing=0.7 / 3)


@cache
def full_lungs():
    return phantoms.lung(7)


def dice(a, b):
    return 2 * np.sum(a & b) / max(np.sum(a) + np.sum(b), 1)


# --- The same on every machine, for every n, on every grid


@every_kind
def test_a_case_depends_on_its_number_and_seed_alone(kind):
    few, more, other = MAKERS[kind](2, seed=3), MAKERS[kind](3, seed=3), MAKERS[kind](1, seed=4)
    for one, same in zip(few, more, strict=False):
        assert one.name == same.name
        np.testing.assert_array_equal(one.image, same.image)
        np.testing.assert_array_equal(one.label, same.label)
        np.testing.assert_array_equal(one.extras["alpha"], same.extras["alpha"])
    assert not np.array_equal(few[0].image, few[1].image)
    assert not np.array_equal(few[0].image, other[0].image)


PINNED = {
    "lung": "9f219b75b097c0b1",
    "kidneys": "7c7734328b99e3c5",
    "abdomen": "91126c784d219e6e",
    "nodules": "b3b59b2f21c45950",
    "nodules in 3-D": "f03c56cb6ca5f759",
}


@every_kind
def test_the_voxels_are_those_of_every_other_machine(kind):
    """Whole HU and fractions in steps of 1/4096 leave no last bits to differ in. When a phantom is changed on purpose,
    the message of this failure holds the new sum."""
    small = {"nodules": {"size": 40}, "nodules in 3-D": {"size": 32}}.get(kind, {"size": (8, 32, 32)})
    seen = hashlib.sha256()
    for case in MAKERS[kind](2, seed=1, **small):
        seen.update(case.image.astype("<i2").tobytes())
        seen.update(case.label.tobytes())
        seen.update((case.extras["alpha"] * 4096).astype("<i2").tobytes())
        np.testing.assert_array_equal(case.image, np.rint(case.image))
    assert seen.hexdigest()[:16] == PINNED[kind]


@pytest.mark.parametrize("kind", ["nodules", "kidneys"])
def test_alpha_is_the_share_of_a_finer_grid(kind):
    """The same patient on a grid four (six) times finer: each coarse voxel's alpha is the mean of its block."""
    if kind == "nodules":
        coarse, fine = phantoms.nodules(4, size=32, spacing=1.4), fine_nodules()
    else:
        coarse, fine = phantoms.kidneys(1, size=(8, 24, 24)), phantoms.kidneys(1, size=(32, 96, 96))
    for a, b in zip(coarse, fine, strict=True):
        alpha, inside = a.extras["alpha"], b.extras["alpha"]
        factor = inside.shape[-1] // alpha.shape[-1]
        blocks = inside.reshape([k for n in alpha.shape for k in (n, factor)])
        oracle = blocks.mean(tuple(range(1, 2 * alpha.ndim, 2)))
        assert np.abs(alpha - oracle).max() < 0.06
        assert np.abs(alpha - oracle)[(oracle > 0) & (oracle < 1)].mean() < 0.01


# --- Shares of forms


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 0.8)])
def test_the_share_of_a_voxel_is_that_of_a_thousand_points_in_it(spacing):
    rng = np.random.Generator(np.random.PCG64(5))
    form = spiked(tumour((0.3, -0.2, 0.4), 3.5, rng), (0.3, -0.2, 0.4), 3.5, rng, spikes=4)
    grid = Grid((10, 18, 18), spacing)
    what = filled(form, grid, fine=4)
    share = np.zeros(grid.size)
    share[what.window] = what.share
    steps = [s * ((np.arange(10) + 0.5) / 10 - 0.5) for s in spacing]
    z, y, x = (axis.ravel()[:, None] + step for axis, step in zip(grid.axes(), steps, strict=True))
    inside = form.distance(z.reshape(-1, 1, 1), y.reshape(1, -1, 1), x.reshape(1, 1, -1)) < 0
    oracle = inside.reshape([k for n in grid.size for k in (n, 10)]).mean((1, 3, 5))
    assert np.abs(share - oracle).max() < 0.05
    assert share.sum() == pytest.approx(oracle.sum(), rel=4e-3)


def test_a_ball_and_a_rod_have_their_volumes():
    grid = Grid((32, 32, 32), (1.0, 1.0, 1.0))
    for form, volume in (
        (ellipsoid((0.2, 0.1, -0.4), (5, 9, 7), (0.4, 0.3, 0.2)), 4 / 3 * np.pi * 5 * 9 * 7),
        (capsule((-6, 0, 0), (5, 1, 2), 3, 3), np.pi * 9 * np.sqrt(126) + 4 / 3 * np.pi * 27),
        (union([ellipsoid((0, 0, -4), (6, 6, 6)), ellipsoid((0, 0, 4), (6, 6, 6))]), 2 * 4 / 3 * np.pi * 216 * 0.9259),
    ):  # two balls of 6 mm whose middles are 8 mm apart share (4 R + d)(2 R - d)² π / 12 = 0.0741 of both
        assert filled(form, grid, fine=4).share.sum() == pytest.approx(volume, rel=2e-3)


def test_melting_fills_the_joint_and_nothing_else():
    """The polynomial smooth minimum lies melt / 4 below both where they are equal, and is the minimum melt away."""
    balls = [ellipsoid((0, 0, -4), (5, 5, 5)), ellipsoid((0, 0, 4), (5, 5, 5))]
    at = np.zeros(3), np.array([3.0, 5.0, 0.0]), np.array([0.0, 0.0, 9.0])
    np.testing.assert_allclose(union(balls, melt=2).distance(*at), [-0.5, np.sqrt(41) - 5 - 0.5, 0.0], atol=1e-12)
    np.testing.assert_allclose(union(balls).distance(*at), [0.0, np.sqrt(41) - 5, 0.0], atol=1e-12)


# --- Labels


@every_kind
def test_the_label_is_where_the_shape_fills_half_of_the_voxel(kind):
    for case in cases(kind):
        alpha = case.extras["alpha"]
        assert alpha.dtype == np.float32
        assert alpha.min() == 0
        assert alpha.max() <= 1
        assert case.image.dtype == np.float32
        assert case.label.dtype == np.uint8
        assert case.image.shape == case.label.shape == alpha.shape == case.space
        assert ((alpha > 0) & (alpha < 1)).any()
        organ = case.extras.get("organ_alpha", alpha)
        assert (organ >= alpha).all()
        np.testing.assert_array_equal(case.label > 0, organ >= 0.5)
        if kind == "kidneys":
            np.testing.assert_array_equal(case.label == 2, alpha >= 0.5)
            assert set(np.unique(case.label)) == {0, 1, 2}
        else:
            assert set(np.unique(case.label)) == {0, 1}


def test_the_tumour_of_the_pancreas_is_a_class_of_its_own_on_request():
    for two, three in zip(cases("abdomen"), MAKERS["abdomen"](6, classes=3), strict=True):
        np.testing.assert_array_equal(two.image, three.image)
        np.testing.assert_array_equal(two.label > 0, three.label > 0)
        np.testing.assert_array_equal(three.label == 2, three.extras["alpha"] >= 0.5)
        assert (three.label == 2).any()


def test_tumours_of_the_lung_come_in_three_scales_apart_from_each_other():
    diameters, sites = {"small": [], "medium": [], "large": []}, set()
    for case in full_lungs():
        components, tumours = case.extras["components"], case.extras["tumours"]
        np.testing.assert_array_equal(components > 0, case.label > 0)
        assert {t["scale"] for t in tumours} == set(diameters)
        assert (case.extras["lungs"] >= case.label).all()
        for t in tumours:
            diameters[t["scale"]].append(t["diameter_mm"])
            sites.add(t["site"])
            own = components == t["component"]
            volume = case.extras["alpha"][ndimage.binary_dilation(own, iterations=2)].sum() * np.prod(case.spacing)
            assert t["volume_mm3"] == pytest.approx(volume, rel=0.02)
            assert t["diameter_mm"] == pytest.approx((6 * volume / np.pi) ** (1 / 3), rel=0.01)
            np.testing.assert_allclose(t["centre"], ndimage.center_of_mass(own), atol=0.6)
            touched = set(np.unique(components[ndimage.binary_dilation(own)])) - {0, t["component"]}
            assert not touched
    assert max(diameters["small"]) < 18 < min(diameters["medium"])
    assert max(diameters["medium"]) < 33 < min(diameters["large"])
    assert sites == {"free", "pleura", "mediastinum"}


def test_some_tumours_lie_against_what_is_as_bright_as_they_are():
    """Round a tumour on the pleura or the mediastinum much of the rind is soft tissue; round a free one it is lung."""
    soft = {"free": [], "pleura": [], "mediastinum": []}
    for case in full_lungs():
        for t in case.extras["tumours"]:
            own = case.extras["components"] == t["component"]
            rind = ndimage.binary_dilation(own, iterations=3) & ~ndimage.binary_dilation(own, iterations=2)
            soft[t["site"]].append((case.image[rind & (case.label == 0)] > -200).mean())
    assert np.mean(soft["free"]) < 0.2
    assert np.mean(soft["pleura"]) > 0.3
    assert np.mean(soft["mediastinum"]) > 0.3


def test_kidneys_are_two_and_now_and_then_one_and_their_tumours_hang_on_them():
    found = cases("kidneys", 16)
    one = [case for case in found if len(case.extras["sides"]) == 1]
    assert 1 <= len(one) <= 5
    for case in found:
        parts, count = ndimage.label(case.label > 0)
        sizes = np.bincount(parts.ravel())[1:]
        assert (sizes > 0.05 * sizes.sum()).sum() == len(case.extras["sides"])
        half = case.label.shape[2] // 2
        present = {"right": (case.label[..., :half] > 0).any(), "left": (case.label[..., half:] > 0).any()}
        assert {side for side, there in present.items() if there} == set(case.extras["sides"])
        tumours, number = ndimage.label(case.label == 2, np.ones((3, 3, 3)))
        assert 1 <= len(case.extras["tumours"]) <= 2
        for k in range(1, number + 1):
            assert (case.label[ndimage.binary_dilation(tumours == k)] == 1).any()
    assert {case.extras["distractor"] for case in found} == {True, False}
    assert {len(case.extras["tumours"]) for case in found} == {1, 2}


# --- Hounsfield units, edges, noise


def test_tissues_have_the_units_that_real_ones_have():
    assert -110 <= FAT <= -60
    assert 30 <= MUSCLE <= 70
    assert -945 <= LUNG <= -835
    for case in full_lungs()[:3]:
        inside = ndimage.binary_erosion(case.extras["lungs"], iterations=2) & (case.extras["alpha"] == 0)
        air = case.image[inside]
        spread = 1.4826 * np.median(np.abs(air - np.median(air)))  # of the parenchyma, whatever the vessels
        assert -945 <= np.median(air) <= -835
        assert 25 <= spread <= 75
        assert case.image[0, 0, 0] == pytest.approx(-1000, abs=100)
        assert (case.image > 300).mean() > 0.01  # bone
    for case in [*cases("lung"), *cases("kidneys"), *cases("abdomen")]:
        lesion = case.image[case.extras["alpha"] == 1]
        if lesion.size > 30:
            assert -10 <= lesion.mean() <= 90
            assert 10 <= lesion.std() <= 55
    for case in phantoms.kidneys(2):
        fat = case.image[(case.image > -150) & (case.image < -40)]
        assert -110 <= np.median(fat) <= -60
        back = case.image[10:14, 76 + 6 : 76 + 12, 58:66]  # the long muscles beside the spine
        assert 25 <= back.mean() <= 80
        liver = case.image[19:23, 36:44, 2:10]
        assert 117 <= liver.mean() <= 173
        kidney = case.image[(case.label == 1) & (case.extras["organ_alpha"] == 1) & (case.extras["alpha"] == 0)]
        assert 110 <= kidney.mean() <= 210


@pytest.mark.parametrize("pixel", [0.7, 1.0, 2.0, 3.0])
def test_an_edge_takes_three_to_five_mm_from_ten_to_ninety_per_cent(pixel):
    rng = np.random.Generator(np.random.PCG64(1))
    grid = Grid((4, 48, 48), (3.0, pixel, pixel))
    slope = np.tan(np.radians(20))
    plane = ImplicitShape(lambda z, y, x: (y + slope * x) / np.hypot(1, slope) + 0 * z, (-1e3,) * 3, (1e3,) * 3)
    for sharpest in (3.0, 3.2):
        drawn = Protocol.drawn(rng, sharpest=sharpest)
        assert 3 <= drawn.edge <= 5
        assert 15 <= drawn.noise <= 45
        canvas = Canvas(grid)
        canvas.paint(plane, 1000.0)
        image = canvas.scanned(Protocol(edge=drawn.edge, noise=0.0, grain=0.6), rng)[2, 8:-8, 8:-8]
        at = np.broadcast_to(plane.distance(*grid.axes()), grid.size)[2, 8:-8, 8:-8].ravel()
        order = np.argsort(at)
        profile = ndimage.uniform_filter1d(image.ravel()[order].astype(float), 9)
        width = np.interp([-800, 800], -profile, at[order])
        assert 2.9 <= np.diff(width)[0] <= 5.0
        if pixel <= 2:  # wider voxels are coarser than the edge
            own = 2.563 * pixel / np.sqrt(12)  # what the voxel adds
            assert np.diff(width)[0] == pytest.approx(np.hypot(drawn.edge, own), rel=0.1)


def test_the_noise_is_as_strong_and_as_coarse_as_asked():
    rng = np.random.Generator(np.random.PCG64(2))
    canvas = Canvas(Grid((24, 64, 64), (3.0, 1.0, 1.0)), background=50.0)
    noise = canvas.scanned(Protocol(edge=4.0, noise=25.0, grain=0.72), rng) - 50
    assert noise.std() == pytest.approx(25, rel=0.03)

    def correlation(lag, axis):
        a, b = np.moveaxis(noise, axis, 0)[:-lag], np.moveaxis(noise, axis, 0)[lag:]
        return (a * b).mean() / noise.var()

    for axis in (1, 2):  # one or two pixels in a slice …
        assert 0.4 <= correlation(1, axis) <= 0.75
        assert abs(correlation(4, axis)) < 0.03
    assert 0.1 <= correlation(1, 0) <= 0.35
    assert abs(correlation(2, 0)) < 0.03


# --- Brightness alone does not segment


def best_by_brightness(case, target):
    """Dice of the best band of HU, over bands between percentiles of the target."""
    low = np.percentile(case.image[target], (0, 5, 15, 30))
    high = np.percentile(case.image[target], (70, 85, 95, 100))
    return max(dice((case.image >= a) & (case.image <= b), target) for a in low for b in high)


@pytest.mark.parametrize(("kind", "label", "at_most"), [("lung", 1, 0.4), ("kidneys", 2, 0.4), ("abdomen", 1, 0.4)])
def test_no_band_of_brightness_finds_the_lesion(kind, label, at_most):
    scores = [best_by_brightness(case, case.label == label) for case in cases(kind)]
    assert max(scores) < 0.6
    assert np.mean(scores) < at_most


# --- Readers and diameters


@pytest.mark.parametrize(("kind", "n"), [("nodules", 48), ("nodules in 3-D", 12)])
def test_readers_disagree_as_real_ones_do(kind, n):
    pairs, consensus = [], []
    for case in cases(kind, n):
        masks = case.extras["readers"]
        assert masks.shape == (4, *case.space)
        assert masks.dtype == np.uint8
        assert masks.any(tuple(range(1, masks.ndim))).all()
        pairs.append(np.mean([dice(a > 0, b > 0) for a, b in combinations(masks, 2)]))
        consensus.append(dice(masks.mean(0) >= 0.5, case.label > 0))
    assert 0.77 <= np.mean(pairs) <= 0.84
    assert np.mean(consensus) > np.mean(pairs)  # together they are nearer to the truth than to each other


def test_nodules_are_of_four_kinds_in_turn():
    assert [case.extras["kind"] for case in cases("nodules")[:4]] == [
        "solid",
        "ground-glass",
        "spiculated",
        "pleura-attached",
    ]
    by_kind = {case.extras["kind"]: case.image[case.extras["alpha"] == 1].mean() for case in cases("nodules")[:4]}
    assert by_kind["ground-glass"] < -250 < -150 < min(by_kind["solid"], by_kind["spiculated"])


def test_the_axes_are_the_longest_and_the_longest_across_it():
    """Against the same nodules on pixels three times finer, measured by brute force over the hull."""
    for case, oracle in zip(phantoms.nodules(4), fine_nodules(), strict=True):
        recist = case.extras["recist"]
        long, short = (np.array(recist[name]) * case.spacing for name in ("long_axis", "short_axis"))  # mm
        parts, _ = ndimage.label(oracle.label)
        biggest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
        points = (np.argwhere(biggest) + 0.5) * oracle.spacing - np.multiply(0.5, case.spacing)
        hull = points[ConvexHull(points).vertices]
        assert np.linalg.norm(long[1] - long[0]) == pytest.approx(pdist(hull).max(), abs=0.7)
        assert recist["long_mm"] == pytest.approx(np.linalg.norm(long[1] - long[0]))
        assert recist["short_mm"] == pytest.approx(np.linalg.norm(short[1] - short[0]))
        along = (long[1] - long[0]) / recist["long_mm"]
        assert abs(along @ (short[1] - short[0])) < 1e-6 * recist["short_mm"]
        at, side = np.rint(points @ along * 3 / 0.7).astype(int), points @ (-along[1], along[0])
        at -= at.min()
        chords = ndimage.maximum(side, at, range(at.max() + 1)) - ndimage.minimum(side, at, range(at.max() + 1))
        assert recist["short_mm"] == pytest.approx(chords.max(), abs=0.7)
        outline = ndimage.distance_transform_edt(biggest) + ndimage.distance_transform_edt(~biggest)
        for row, column in np.concatenate([recist["long_axis"], recist["short_axis"]]):
            at_end = outline[round((row + 0.5) * 3 - 0.5), round((column + 0.5) * 3 - 0.5)]
            assert at_end <= 3  # within a pixel of the true outline


def test_a_block_tells_the_slice_of_its_diameters():
    for case in cases("nodules in 3-D"):
        areas = (case.label > 0).sum((1, 2))
        assert case.extras["recist"]["slice"] == np.argmax(areas)
        assert case.extras["recist"]["short_mm"] <= case.extras["recist"]["long_mm"]


# --- Grids


def test_without_a_spacing_the_voxels_share_out_the_natural_field_of_view():
    assert phantoms.kidneys(1, size=(24, 64, 64))[0].spacing == (6.0, 3.125, 3.125)
    assert phantoms.lung(1, size=(16, 32, 32))[0].spacing == (16.0, 8.0, 8.0)
    assert phantoms.nodules(1)[0].spacing == (0.7, 0.7)


def test_with_a_spacing_the_anatomy_fills_the_size():
    natural, half = phantoms.lung(1, size=(32, 32, 32))[0], phantoms.lung(1, size=(32, 32, 32), spacing=(4.0, 4, 4))[0]
    assert half.spacing == (4.0, 4.0, 4.0)
    np.testing.assert_array_equal(natural.label, half.label)
    for a, b in zip(natural.extras["tumours"], half.extras["tumours"], strict=True):
        assert b["diameter_mm"] == pytest.approx(a["diameter_mm"] / 2)


# --- Wrong orders


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: phantoms.lung(0), "n=0, but at least 1 case is needed. Pass phantoms.lung"),
        (lambda: phantoms.nodules(-1), "n=-1, but"),
        (lambda: phantoms.kidneys(1, seed=-3), "seed=-3, but a seed is a whole number ≥ 0"),
        (lambda: phantoms.lung(1, size=(64, 64)), r"size=\(64, 64\); needed are 3 whole numbers, \(depth, height"),
        (lambda: phantoms.nodules(1, dims=2, size=(64, 64, 64)), r"needed are 2 whole numbers, \(height, width\)"),
        (lambda: phantoms.abdomen(1, size=(4, 64, 64)), r"too small for the anatomy: use at least \(8, 16, 16\)"),
        (lambda: phantoms.nodules(1, dims=4), r"dims=4 .*dims=2 .*dims=3"),
        (lambda: phantoms.nodules(1, size=16, spacing=0.5), "covers only 8 mm, too little for nodules of 5 mm"),
        (lambda: phantoms.abdomen(1, classes=4), r"classes=4 .*classes=2 .* classes=3"),
        (
            lambda: phantoms.lung(1, spacing=(1.0, 1.0)),
            r"\(1\.0, 1\.0\) came.*3 positive numbers.*lung\(1, spacing=",
        ),
        (lambda: phantoms.lung(1, spacing=(1.0, 0.0, 1.0)), r"spacing \(1\.0, 0\.0, 1\.0\) came.*3 positive numbers"),
    ],
)
def test_a_wrong_order_is_answered_with_what_to_type(call, message):
    with pytest.raises(ValueError, match=message):
        call()
