"""Closed-form matting against a sparse direct solve of the printed Laplacian, and what soft masks promise."""

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from dsnotes.softmask import band, matting, soft_mask, soft_masks, trimap_from_mask
from dsnotes.softmask.closed_form import direct, laplacian

ROOT = Path(__file__).resolve().parents[2]


def nodule(size=48, radius=0.28, noise=0.03, seed=0):
    """A blurred wobbly disc with noise, grey values in [0, 1], and its mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    edge = radius * size + 0.02 * size * np.sin(5 * np.arctan2(y, x)) - np.hypot(y, x)
    image = 0.2 + 0.6 * ndimage.gaussian_filter(np.clip(edge + 0.5, 0, 1), 1)
    image += noise * ndimage.gaussian_filter(rng.normal(size=(size, size)), 0.7)
    return image.clip(0, 1), edge > 0


def ball(size=20, radius=6.0, seed=0):
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:size, :size, :size] - size / 2 + 0.5
    edge = radius - np.sqrt(z**2 + y**2 + x**2)
    image = 0.2 + 0.6 * ndimage.gaussian_filter(np.clip(edge + 0.5, 0, 1), 1) + 0.02 * rng.normal(size=edge.shape)
    return image.clip(0, 1), np.where(edge > 2, 1, np.where(edge < -2, -1, 0)).astype(np.int8)


IMAGES = {
    "nodule": nodule()[0],
    "constant": np.full((48, 48), 0.3),
    "step": nodule()[1].astype(float),
    "ramp": np.mgrid[:48, :48][1] / 48,
    "noise": np.random.default_rng(1).random((48, 48)),
    "lone bright pixels": (np.random.default_rng(2).random((48, 48)) > 0.97).astype(float),
}


@pytest.mark.parametrize("eps", [1e-7, 1e-4])
@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("front", [band.STRIP_LIMIT, 0], ids=["elimination", "iteration"])
def test_the_direct_solve_of_the_printed_laplacian(monkeypatch, front, name, eps):
    monkeypatch.setattr(band, "STRIP_LIMIT", front)
    trimap = trimap_from_mask(nodule()[1], 4)
    expected = direct(IMAGES[name], trimap, eps)
    assert abs(soft_mask(IMAGES[name], trimap, eps) - expected).max() < 2e-6


@pytest.mark.parametrize("front", [10_000, 0], ids=["elimination", "iteration"])
def test_a_true_3d_window_is_the_27_pixel_laplacian(monkeypatch, front):
    monkeypatch.setattr(band, "STRIP_LIMIT", front)
    image, trimap = ball(14, 4.0)
    alpha = soft_mask(image, trimap, 1e-5, window="volume")
    assert abs(alpha - direct(image, trimap, 1e-5)).max() < 2e-6
    assert abs(alpha - soft_mask(image, trimap, 1e-5)).max() > 0.05  # and not the slices' one


@pytest.mark.parametrize("spacing", [(2.5, 0.7, 0.7), (1.0, 0.5, 0.8)])
@pytest.mark.parametrize("front", [10_000, 0], ids=["elimination", "iteration"])
def test_spacing_weighs_the_window_as_a_dense_solve_of_its_energy(monkeypatch, front, spacing):
    """Σ over windows of min over a, b of Σ w (α − aI − b)² + ε a², by least squares, without the formula."""
    monkeypatch.setattr(band, "STRIP_LIMIT", front)
    image = ball(8, 2.2)[0]
    trimap = np.full(image.shape, -1, np.int8)
    trimap[1:7, 1:7, 1:7], trimap[3:5, 3:5, 3:5] = 0, 1
    eps, fine = 1e-3, min(spacing)
    matrix = np.zeros((image.size, image.size))
    for corner in np.ndindex(6, 6, 6):
        of, weights = [], []
        for offset in np.ndindex(3, 3, 3):
            of.append(np.ravel_multi_index(np.add(corner, offset), image.shape))
            beside = [s for s, o in zip(spacing, offset, strict=True) if o != 1]
            weights.append(np.prod([(fine / s) ** 2 for s in beside]))
        root = np.sqrt(weights)[:, None]
        line = np.vstack([root * np.stack([image.ravel()[of], np.ones(27)], 1), [np.sqrt(eps), 0]])  # rows a, b; ε a²
        rest = (np.eye(28) - line @ np.linalg.pinv(line))[:, :27] * root.T  # residual of α
        matrix[np.ix_(of, of)] += rest.T @ rest
    unknown, expected = trimap.ravel() == 0, (trimap.ravel() == 1).astype(float)
    expected[unknown] = np.linalg.solve(matrix[np.ix_(unknown, unknown)], -matrix[unknown] @ expected)
    alpha = soft_mask(image, trimap, eps, window="volume", spacing=spacing)
    assert unknown.sum() > 100
    assert abs(alpha.ravel() - expected.clip(0, 1)).max() < 2e-6
    weights = matting.window_weights("volume", spacing)
    assert abs(alpha - direct(image, trimap, eps, weights)).max() < 2e-6
    assert abs(alpha - soft_mask(image, trimap, eps, window="volume")).max() > 0.01


def test_equal_spacings_are_the_published_window_and_thick_slices_are_alone():
    image, trimap = ball(14, 4.0)
    volume = soft_mask(image, trimap, 1e-4, window="volume")
    np.testing.assert_array_equal(soft_mask(image, trimap, 1e-4, window="volume", spacing=(2.0, 2.0, 2.0)), volume)
    inner = slice(4, 10)  # slices with a core of their own
    thick = soft_mask(image, trimap, 1e-4, window="volume", spacing=(5e3, 1.0, 1.0))
    assert abs(thick - soft_mask(image, trimap, 1e-4))[inner].max() < 1e-3
    np.testing.assert_allclose(matting.window_weights("volume", (2.0, 1.0, 1.0))[:, 1, 0], (0.25, 1, 0.25))
    np.testing.assert_array_equal(matting.window_weights("slice", (9.0, 1.0, 1.0)), np.ones((3, 3)))


def test_a_batch_of_volumes_takes_one_spacing_or_one_for_each():
    image, trimap = ball(12, 3.0)
    spacings = [(2.0, 1.0, 1.0), (1.0, 1.0, 1.0)]
    alone = [soft_mask(image, trimap, 1e-3, window="volume", spacing=one) for one in spacings]
    assert abs(alone[0] - alone[1]).max() > 0.01
    pair = [image, image], [trimap, trimap], 1e-3
    np.testing.assert_array_equal(soft_masks(*pair, window="volume", spacing=spacings), alone)
    np.testing.assert_array_equal(soft_masks(*pair, window="volume", spacing=spacings[0]), [alone[0]] * 2)
    with pytest.raises(ValueError, match="1 spacings but 2 images.*one for each"):
        soft_masks(*pair, window="volume", spacing=spacings[:1])
    with pytest.raises(ValueError, match=r"spacing \(2.0, -1.0, 1.0\).*positive"):
        soft_mask(image, trimap, window="volume", spacing=(2.0, -1.0, 1.0))
    with pytest.raises(ValueError, match=r"spacing \(1.0, 1.0\) came; needed are 3"):
        soft_mask(image, trimap, window="volume", spacing=(1.0, 1.0))


def test_a_stack_is_its_slices():
    image, trimap = ball()
    alpha = soft_mask(image, trimap)
    for level in range(8, 12):
        np.testing.assert_allclose(alpha[level], soft_mask(image[level], trimap[level]), atol=1e-6)


def test_against_pymatting(tmp_path):
    """Its colour window on a grey image repeated three times amounts to ε/27 where ours has ε/9.

    It runs uncompiled in a process of its own: on import it compiles all that it has, which takes minutes.
    """
    if find_spec("pymatting") is None:
        pytest.skip("pymatting is a peer of the dev extra")
    image, mask = nodule()
    trimap = trimap_from_mask(mask, 3)
    np.savez(tmp_path / "given.npz", colour=np.repeat(image[..., None], 3, axis=2), trimap=(trimap + 1) / 2)
    program = (
        "import numpy, pymatting\n"
        "given = numpy.load('given.npz')\n"
        "alpha = pymatting.estimate_alpha_cf(given['colour'], given['trimap'], laplacian_kwargs={'epsilon': 9e-5})\n"
        "numpy.save('alpha.npy', alpha)\n"
    )
    uncompiled = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=uncompiled, check=True)
    theirs = np.load(tmp_path / "alpha.npy")
    assert abs(soft_mask(image, trimap, 3e-5) - theirs).max() < 1e-4
    assert abs(soft_mask(image, trimap, 9e-5) - theirs).max() > 1e-3


def test_a_soft_mask_is_one_inside_zero_outside_and_between_in_the_band():
    image, mask = nodule()
    trimap = trimap_from_mask(mask, 3)
    alpha = soft_mask(image, trimap)
    assert alpha.dtype == np.float32
    assert (alpha[trimap == 1] == 1).all()
    assert (alpha[trimap == -1] == 0).all()
    assert ((alpha > 0.1) & (alpha < 0.9)).sum() > 30
    assert alpha.min() >= 0
    assert alpha.max() <= 1


def test_half_of_it_is_the_disc_again():
    image, mask = nodule(64, noise=0)
    half = soft_mask(image, trimap_from_mask(mask, 3)) >= 0.5
    assert 2 * (half & mask).sum() / (half.sum() + mask.sum()) > 0.97


def test_the_laplacian_is_symmetric_and_annihilates_constants():
    """What the elimination relies on, of the very windows that it adds up."""
    matrix = laplacian(nodule(16)[0], 1e-7)
    assert abs(matrix - matrix.T).max() < 1e-12
    assert abs(matrix @ np.ones(256)).max() < 1e-12
    assert np.linalg.eigvalsh(matrix.toarray()).min() > -1e-12


def test_bands_are_independent():
    image, mask = nodule(40)
    trimap = trimap_from_mask(mask, 3)
    other, other_trimap = nodule(40, radius=0.2, seed=3)[0], trimap_from_mask(nodule(40, radius=0.2)[1], 2)
    both = soft_mask(np.hstack([image, other]), np.hstack([trimap, other_trimap]))
    np.testing.assert_allclose(both[:, :40], soft_mask(image, trimap), atol=1e-6)
    np.testing.assert_allclose(both[:, 40:], soft_mask(other, other_trimap), atol=1e-6)


def test_bands_a_pixel_apart_share_windows():
    """A single column of known pixels between two unknown regions does not part them."""
    rng = np.random.default_rng(0)
    image = rng.random((12, 13))
    trimap = np.zeros((12, 13), np.int8)
    trimap[:, 6], trimap[:, 0], trimap[:, -1] = 1, -1, 1
    assert abs(soft_mask(image, trimap, 1e-2) - direct(image, trimap, 1e-2)).max() < 1e-6


def test_no_unknown_pixel_leaves_the_mask():
    image, mask = nodule()
    np.testing.assert_array_equal(soft_mask(image, np.where(mask, 1, -1)), mask)


@pytest.mark.parametrize(("kind", "value"), [(1, 1.0), (-1, 0.0)])
def test_a_band_beside_one_kind_alone_takes_its_value(kind, value):
    image, _ = nodule(32)
    trimap = np.full((3, 32, 32), kind, np.int8)
    trimap[1, 10:20, 10:20] = 0
    trimap[0, 0, 0], trimap[0, 0, 1] = 1, -1  # both kinds, in another slice
    assert (soft_mask(np.stack([image] * 3), trimap)[1] == value).all()


def test_a_band_that_touches_no_known_pixel_is_a_half():
    image, mask = nodule(32)
    known = trimap_from_mask(mask, 2)
    stack = np.stack([known, np.zeros_like(known), known])
    alpha = soft_mask(np.stack([image] * 3), stack)
    assert (alpha[1] == 0.5).all()
    filled = soft_mask(np.stack([image] * 3), stack, 1e-5, window="volume")[1]
    assert abs(filled - mask).mean() < 0.1  # the slices beside it know


def test_hounsfield_units_are_brought_to_one():
    """ε means the same for both: at 1e-2 it would be nothing beside the variance of HU."""
    image, mask = nodule()
    trimap = trimap_from_mask(mask, 3)
    image = (image - image.min()) / np.ptp(image)
    expected = soft_mask(image, trimap, 1e-2)
    assert abs(expected - soft_mask(image, trimap, 1e-7)).max() > 0.02
    hounsfield = (1400 * image - 1000).astype(np.float32)
    np.testing.assert_allclose(soft_mask(hounsfield, trimap, 1e-2), expected, atol=1e-5)
    np.testing.assert_allclose(soft_mask(np.rint(hounsfield).astype(np.int16), trimap, 1e-2), expected, atol=1e-2)


def test_the_image_and_trimap_are_left_alone():
    image, mask = nodule()
    trimap = trimap_from_mask(mask, 3)
    before = image.copy(), trimap.copy()
    soft_mask(image * 100, trimap)
    soft_mask(image, trimap)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(trimap, before[1])


@pytest.mark.parametrize("workers", [1, 2, None])
def test_a_batch_is_its_images(workers):
    pairs = [(image, trimap_from_mask(mask, 2)) for image, mask in (nodule(32, seed=s) for s in range(5))]
    images, trimaps = zip(*pairs, strict=True)
    alone = [soft_mask(image, trimap) for image, trimap in pairs]
    together = soft_masks(list(images), list(trimaps), workers=workers)
    assert isinstance(together, list)
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(soft_masks(np.stack(images), np.stack(trimaps), workers=workers), alone)


def test_a_batch_of_different_sizes_or_of_none():
    pairs = [nodule(size) for size in (32, 40)]
    masks = soft_masks([image for image, _ in pairs], [trimap_from_mask(mask, 2) for _, mask in pairs])
    assert [mask.shape for mask in masks] == [(32, 32), (40, 40)]
    assert soft_masks([], []) == []
    assert soft_masks(np.zeros((0, 8, 8)), np.zeros((0, 8, 8), np.int8)).shape == (0, 8, 8)


GOOD = np.zeros((8, 8), np.int8)
GOOD[0], GOOD[-1] = 1, -1
HOLED = np.ones((8, 8))
HOLED[2, 3] = np.nan


@pytest.mark.parametrize(
    ("image", "trimap", "keywords", "text"),
    [
        (np.ones((8, 9)), GOOD, {}, r"\(8, 9\) and trimap \(8, 8\) differ in shape.*image's own grid"),
        (HOLED, GOOD, {}, "holds 1 NaN or infinite pixels of 64.*nan_to_num"),
        (np.where(np.isnan(HOLED), np.inf, 1), GOOD, {}, "holds 1 NaN or infinite"),
        (np.ones((8, 8)), np.minimum(GOOD, 0), {}, r"no lesion pixel \(1\).*keep_small=True"),
        (np.ones((8, 8)), np.maximum(GOOD, 0), {}, r"no outside pixel \(-1\).*more margin"),
        (np.ones((8, 8)), (GOOD + 1) / 2, {}, r"trimap holds 0, 0\.5, 1; needed are −1"),
        (np.ones((8, 8)), ((GOOD + 1) * 127).astype(np.uint8), {}, "trimap holds 0, 127, 254; needed"),
        (np.ones((8, 8)), GOOD, {"eps": 0.0}, "eps=0.0.*usual value is 1e-7"),
        (np.ones((8, 8)), GOOD, {"window": "volume"}, r'3×3×3 window.*or window="slice"'),
        (np.ones((2, 8)), GOOD[:2], {}, "3×3 window.*at least 3 pixels per side"),
        (np.ones((2, 8, 8)), np.stack([GOOD] * 2), {"window": "volume"}, "3×3×3 window"),
        (np.ones((1, 1, 8, 8)), GOOD[None, None], {}, r"\(1, 1, 8, 8\) cannot hold"),
    ],
)
def test_what_is_refused(image, trimap, keywords, text):
    with pytest.raises(ValueError, match=text):
        soft_mask(image, trimap, **keywords)


def test_what_a_batch_refuses():
    with pytest.raises(ValueError, match="2 images but 1 trimaps"):
        soft_masks([np.ones((8, 8))] * 2, [GOOD])
    with pytest.raises(ValueError, match="image 1 of 2: image holds 1 NaN"):
        soft_masks([np.ones((8, 8)), HOLED], [GOOD] * 2)
    with pytest.raises(ValueError, match="workers=0.*leave it out"):
        soft_masks([np.ones((8, 8))], [GOOD], workers=0)


def test_an_iteration_that_does_not_settle_says_so(monkeypatch):
    monkeypatch.setattr(band, "STRIP_LIMIT", 0)
    monkeypatch.setattr(matting, "ITERATIONS", 3)
    image, mask = nodule()
    with pytest.raises(RuntimeError, match=r"did not converge in 3 iterations on \d+ of \d+.*larger eps \(try 1e-05\)"):
        soft_mask(image, trimap_from_mask(mask, 3))


def in_a_fresh_process(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_importing_costs_no_numba():
    done = in_a_fresh_process("import sys, dsnotes.softmask\nassert not {'numba', 'cv2', 'scipy'} & set(sys.modules)")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("home", ["writable", "nowhere"])
def test_an_installation_that_cannot_be_written(tmp_path, home):
    """Compiled code goes to the user's cache folder; without one it is compiled again, and nothing is printed."""
    package = tmp_path / "site"
    package.mkdir()
    (package / "band.py").write_text((ROOT / "dsnotes" / "softmask" / "band.py").read_text(encoding="utf-8"))
    (package / "__pycache__").write_text("a file where numba would make its folder")
    cache = tmp_path / "cache"
    if home == "nowhere":
        cache.write_text("a file, not a folder")
    done = in_a_fresh_process(
        """
        import band
        kernel = band._deviations
        import numpy as np
        d = np.empty(3)
        kernel(np.array([0.0, 0.5, 1.0]), 1, np.array([-1, 0, 1]), np.ones(3), 0.5, d)
        assert abs(d - [-0.5, 0, 0.5]).max() < 1e-12, d
        print(type(kernel._cache).__name__)
        """,
        PYTHONPATH=os.pathsep.join([str(package), str(ROOT)]),
        PYTHONDONTWRITEBYTECODE="1",
        XDG_CACHE_HOME=str(cache),
        HOME=str(cache),
        LOCALAPPDATA=str(cache),
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert done.stdout.strip() == ("FunctionCache" if home == "writable" else "NullCache")
    if home == "writable":
        assert list(cache.rglob("*.nbi"))
