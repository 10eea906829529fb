# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab 4: Soften a mask
#
# A pixel at the edge of a nodule is partly nodule, but a mask is binary. Closed-form matting uses the image to find α,
# the share of nodule in every pixel: from a *trimap* (certainly nodule, certainly not, unknown) and the matting
# *Laplacian*. In this lab you take all three steps on a small image and measure when the result is closer to the truth
# than the mask.
#
# $$L_{ij} = \sum_{w \ni i,j}
#   \Big[\delta_{ij} - \tfrac19\Big(1 + \frac{(I_i-\mu_w)(I_j-\mu_w)}{\sigma_w^2 + \epsilon/9}\Big)\Big]$$
#
# Read first: [60_soft_masks](../60_soft_masks.ipynb). About 90 minutes; 20 points, three of them graded by hand. Run
# the test cell below each of yours: a failing test says what to check; some have hidden parts with other images. Do not
# use `dsnotes`: you are writing a part of it, and it is not installed when your notebook is graded. Your functions must
# not change their arguments. `dsnotes labs check lab4_soften.ipynb` runs the whole notebook in a fresh kernel.

# %%
import cv2
import numpy as np


def disk(radius):
    """The structuring element: all pixels within `radius` of the middle."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def nodule(size=14, radius=3.6, noise=0.0, seed=0):
    """A small image, the true share of nodule in every pixel, and the mask that a reader would draw."""
    fine = (np.arange(size * 8) + 0.5) / 8 - size / 2 - 0.3
    inside = (np.hypot(*np.meshgrid(fine, 0.9 * fine)) < radius).astype(float)
    share = inside.reshape(size, 8, size, 8).mean((1, 3))
    share = cv2.GaussianBlur(share, (0, 0), 0.8)
    image = 0.15 + 0.7 * share + noise * np.random.default_rng(seed).standard_normal(share.shape)
    return image, share, (share >= 0.5).astype(np.uint8)


# %% [markdown]
# ## 1. The trimap
#
# 1 inside the mask *eroded* by the disk, −1 outside the mask *dilated* by it, 0 between, where the image decides. Use
# `cv2.erode` and `cv2.dilate` with `disk(radius)`.


# %% nbgrader={"grade_id": "trimap", "solution": true}
def trimap_of(mask, radius):
    """int8 of the mask's shape: 1 certainly nodule, −1 certainly not, 0 unknown."""
    ### BEGIN SOLUTION
    core, reach = cv2.erode(mask, disk(radius)), cv2.dilate(mask, disk(radius))
    return core.astype(np.int8) + reach.astype(np.int8) - 1
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-trimap", "points": 3}
import numpy as np

square = np.zeros((13, 13), np.uint8)
square[3:10, 3:10] = 1
got = np.asarray(trimap_of(square, 2))
assert got.shape == square.shape, f"the mask's shape, not {got.shape}"
assert set(np.unique(got)) == {-1, 0, 1}, f"three values, −1, 0 and 1; yours {np.unique(got).tolist()}"
assert got[6, 6] == 1 and got[0, 0] == -1, "the middle is certainly nodule (1), the corner certainly not (−1)"
assert got[6, 3] == 0 and got[6, 2] == 0, "both sides of the mask's edge are unknown: erode *and* dilate"
### BEGIN HIDDEN TESTS
assert (got == 1).sum() == 9, f"7 × 7 eroded by 2 leaves 3 × 3 = 9 pixels, not {(got == 1).sum()}"
spots = np.random.default_rng(SEED).random((20, 24)).astype(np.float32)
spots = (cv2.GaussianBlur(spots, (0, 0), 2) > 0.5).astype(np.uint8)
for radius in (1, 3):
    got = np.asarray(trimap_of(spots, radius))
    assert ((got == 1) == (cv2.erode(spots, disk(radius)) > 0)).all(), "use the radius: 1 inside the eroded mask"
    assert ((got == -1) == (cv2.dilate(spots, disk(radius)) == 0)).all(), "−1 outside the dilated mask"
### END HIDDEN TESTS

# %% [markdown]
# ## 2. The Laplacian
#
# In every 3 × 3 window α is assumed to be a linear function of the grey value. Each window adds its 9 × 9 block to a
# matrix of all pixels × all pixels (row by row: pixel (y, x) is number y · width + x). A window of constant grey has no
# variance: there ε avoids a division by zero. Only windows entirely inside the image count.


# %% nbgrader={"grade_id": "laplacian", "solution": true}
def laplacian(image, eps):
    """The matting Laplacian of a small grey image: (height · width) squared."""
    ### BEGIN SOLUTION
    height, width = image.shape
    L = np.zeros((image.size, image.size))
    for y in range(height - 2):
        for x in range(width - 2):
            window = [(y + i) * width + x + j for i in range(3) for j in range(3)]
            grey = image.ravel()[window]
            centred = grey - grey.mean()
            L[np.ix_(window, window)] += np.eye(9) - (1 + np.outer(centred, centred) / (grey.var() + eps / 9)) / 9
    return L
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-laplacian-form", "points": 3}
import numpy as np

ramp = np.add.outer(0.1 * np.arange(5.0), 0.03 * np.arange(6.0) ** 2)
L = laplacian(ramp, 1e-4)
assert L.shape == (30, 30), f"30 pixels: 30 × 30, not {L.shape}"
assert np.allclose(L, L.T), "the matrix must be symmetric"
assert np.abs(L).max() > 0, "the matrix is all zeros: add a block for every window"
assert np.abs(L.sum(1)).max() < 1e-8, (
    "a constant α has zero energy: every row adds up to 0; do windows overlap the border?"
)
### BEGIN HIDDEN TESTS
ramp = np.cumsum(0.05 + 0.1 * np.random.default_rng(SEED).random((5, 6)), axis=1)
L, line = laplacian(ramp, 1e-4), 3 * ramp.ravel() - 0.2
assert abs(line @ laplacian(ramp, 1e-9) @ line) < 1e-5, "a linear function of the grey value has (almost) zero energy"
other = np.random.default_rng(SEED + 1).random(30)
assert other @ L @ other > 0.1, "any other α has positive energy"
assert np.linalg.eigvalsh(L).min() > -1e-8, "and the energy is never negative"
### END HIDDEN TESTS

# %% nbgrader={"grade_id": "test-laplacian-values", "points": 2}
import numpy as np

one = np.arange(9.0).reshape(3, 3) / 8
got = laplacian(one, 1e-3)
assert abs(got[4, 4] - 8 / 9) < 1e-9, f"one window: its middle has the mean grey, so 1 − 1/9, not {got[4, 4]}"
### BEGIN HIDDEN TESTS
one = np.random.default_rng(SEED).random((3, 3))
got, centred = laplacian(one, 1e-3), one.ravel() - one.mean()
want = np.eye(9) - (1 + np.outer(centred, centred) / (one.var() + 1e-3 / 9)) / 9
assert np.allclose(got, want, atol=1e-8), "σ² is the mean of squares (ddof 0), and ε is divided by 9"
noisy = np.random.default_rng(SEED + 1).random((4, 4))
assert (
    abs(
        np.trace(laplacian(noisy, 1e-2))
        - (4 * 9 - sum(1 + 1 / (1 + 1e-2 / 9 / noisy[y : y + 3, x : x + 3].var()) for y in (0, 1) for x in (0, 1)))
    )
    < 1e-8
), "every window adds its own block"
### END HIDDEN TESTS

# %% [markdown]
# ## 3. α
#
# Known pixels of the trimap are fixed at 1 and 0. For the unknown ones $\alpha^\top L\,\alpha$ is minimal where
# $L_{uu}\,\alpha_u = -L_{uk}\,\alpha_k$: a linear system. Keep the result within [0, 1].


# %% nbgrader={"grade_id": "solve", "solution": true}
def alpha_of(image, trimap, eps):
    """The share of every pixel: the image's shape, floats from 0 to 1."""
    ### BEGIN SOLUTION
    L, kinds = laplacian(image, eps), trimap.ravel()
    unknown, alpha = kinds == 0, (kinds == 1).astype(float)
    alpha[unknown] = np.linalg.solve(L[np.ix_(unknown, unknown)], -L[unknown] @ alpha)
    return alpha.clip(0, 1).reshape(image.shape)
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-solve", "points": 4}
import numpy as np

image, share, mask = nodule()
trimap = trimap_of(mask, 2)
alpha = alpha_of(image, trimap, 1e-5)
assert alpha.shape == image.shape, f"the image's shape, not {alpha.shape}"
assert (alpha[trimap == 1] == 1).all(), "where the trimap is 1, α is 1"
assert (alpha[trimap == -1] == 0).all(), "where the trimap is −1, α is 0"
assert np.unique(alpha[trimap == 0]).size > 5, "in the unknown band α must be soft"
### BEGIN HIDDEN TESTS
from dsnotes.softmask import soft_mask

image, share, mask = nodule(size=16, radius=4.3, noise=0.02, seed=SEED)
trimap = reference.trimap_of(mask, 2)
got, want = alpha_of(image, trimap, 1e-3), soft_mask(image, trimap, eps=1e-3)
assert np.abs(got - want).max() < 2e-3, f"differs by {np.abs(got - want).max():.3f} from the library's soft_mask"
assert got.min() >= 0 and got.max() <= 1, "shares lie between 0 and 1"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Which ε?
#
# ε/9 is added to the variance of a window. If ε is too small, α follows the noise; if too large, α ignores the image.
# Return the ε of `candidates` whose α has the smallest mean error *in the unknown band* against the true share.


# %% nbgrader={"grade_id": "eps", "solution": true}
def best_eps(image, trimap, share, candidates):
    """One of the candidates."""
    ### BEGIN SOLUTION
    band = trimap == 0
    return min(candidates, key=lambda eps: np.abs(alpha_of(image, trimap, eps) - share)[band].mean())
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-eps", "points": 2}
import numpy as np


def unsure(share):
    """A trimap from the true share, only for this test."""
    return np.where(share > 0.98, 1, np.where(share < 0.02, -1, 0)).astype(np.int8)


tried = (1e-7, 1e-2, 10.0)
image, share, mask = nodule()
assert best_eps(image, unsure(share), share, tried) == 1e-7, "without noise the smallest ε is the best of these"
### BEGIN HIDDEN TESTS
for at, noise in enumerate((0.12, 0.0, 0.12)):
    image, share, mask = nodule(noise=noise, seed=SEED + at)
    band, tried = unsure(share) == 0, tried[1:] + tried[:1]
    errors = {eps: np.abs(alpha_of(image, unsure(share), eps) - share)[band].mean() for eps in tried}
    assert len(set(errors.values())) > 1, "your α must depend on ε"
    best = best_eps(image, unsure(share), share, tried)
    assert best == min(errors, key=errors.get), "with noise another ε may be best: compute the error, in the band"
assert best_eps(image, unsure(share), share, (5.0,)) == 5.0, "return one of the candidates"
### END HIDDEN TESTS

# %% [markdown]
# ## 5. An application: the area
#
# Compute the area of a lesion in mm², from a mask or from α: every pixel counts with its share. `spacing` is (mm per
# row, mm per column). Then return the error of a hard mask's area in percent of the true share's area: positive where
# the mask is too large.


# %% nbgrader={"grade_id": "area", "solution": true}
def area_mm2(alpha, spacing):
    """Σ α times the area of a pixel: a float."""
    ### BEGIN SOLUTION
    return float(alpha.sum() * spacing[0] * spacing[1])
    ### END SOLUTION


def percent_off(mask, share, spacing):
    """100 · (area of the mask − true area) / true area."""
    ### BEGIN SOLUTION
    true = area_mm2(share, spacing)
    return 100 * (area_mm2(mask, spacing) - true) / true
    ### END SOLUTION


# %% nbgrader={"grade_id": "test-area", "points": 3}
import numpy as np

half = np.full((2, 3), 0.5)
assert abs(area_mm2(half, (0.5, 2.0)) - 3.0) < 1e-9, "six pixels of 1 mm², each half nodule: 3 mm²"
assert abs(percent_off(np.ones((2, 3)), half, (1.0, 1.0)) - 100) < 1e-9, "twice as large: 100 percent too large"
### BEGIN HIDDEN TESTS
share = np.random.default_rng(SEED).random((4, 5)) + 0.1
row, column = share[0, :2].tolist()
assert abs(area_mm2(share, (row, column)) - share.sum() * row * column) < 1e-9, "a pixel has row · column mm²"
mask = np.zeros((4, 5), np.uint8)
mask[0, :2] = 1
assert abs(percent_off(mask, share, (row, column)) - 100 * (2 - share.sum()) / share.sum()) < 1e-9, (
    "too small is negative"
)
### END HIDDEN TESTS

# %% [markdown]
# ## 6. In your own words
#
# **In five to ten sentences:** a radiologist asks why she should trust a soft mask that nobody has drawn. Explain what
# comes from her mask and what from the image, name two situations in which matting is confidently *wrong* (think of
# what lies in the band, and of ε), and describe how you would check it on real scans, where the true share is unknown.

# %% [markdown] nbgrader={"grade_id": "reflection", "solution": true, "points": 3}
# Her mask only determines the certain pixels: a core fixed at 1, an outside fixed at 0. Within the band the share
# follows the grey value between the bright and the dark pixels nearby. It is wrong where something else lies in the
# band, such as a vessel or the pleura with the nodule's grey value, which is then called nodule; and where noise is
# stronger than contrast and ε is small, because noise then becomes share. A wide band makes the first more likely, a
# large ε only blurs the second. On real scans I would compare with the mean mask of several readers, with a second scan
# or a thinner reconstruction, and test whether areas agree over repeated scans of a stable nodule.
