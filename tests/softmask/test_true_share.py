"""Which label is nearest to the true share of lesion, on phantoms that know it.

The image shows that share after the scanner's blur (`extras["seen"]`), which here is wider than a pixel: that is the α
of M = αL + (1 − α)B. The mask that is softened is what a reader drew, as it is in practice.
"""

import numpy as np
import pytest
from scipy import ndimage

from dsnotes.data import phantoms
from dsnotes.softmask import soft_mask, trimap_from_annotators, trimap_from_mask

WIDTHS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)  # pixels; the scanner's own is 1.9
NOISY = 9 * 0.033**2  # 9 × the noise's variance, 33 of 1000 HU: ε/9 stands beside the window's variance


@pytest.fixture(scope="module")
def nodules():
    return phantoms.nodules(24, seed=1)


def errors(cases, trimap_and_mask, labels):
    """Mean absolute error to the share seen, in the trimap's band: one row a case, one column a label."""
    rows = []
    for case in cases:
        trimap, mask = trimap_and_mask(case)
        band = trimap == 0
        rows.append([np.mean(abs(label(case, trimap, mask) - case.extras["seen"])[band]) for label in labels])
    return np.array(rows)


def matted(eps):
    return lambda case, trimap, mask: soft_mask(case.image, trimap, eps)


def binary(case, trimap, mask):
    return mask


def blurred(sigma):
    return lambda case, trimap, mask: ndimage.gaussian_filter(mask, sigma)


@pytest.fixture(scope="module")
def drawn_by_readers(nodules):
    """radius -> mean errors of every reader's mask: matted by default, matted as noise asks for, binary, blurred."""
    labels = [matted(1e-7), matted(NOISY), binary, *map(blurred, WIDTHS)]

    def measured(radius):
        found = []
        for reader in range(4):

            def drawn(case, reader=reader):
                mask = case.extras["readers"][reader]
                return trimap_from_mask(mask, radius), mask.astype(float)

            found.append(errors(nodules, drawn, labels))
        return np.mean(found, axis=(0, 1))

    return measured


@pytest.mark.parametrize("radius", [2, 3])
def test_a_matted_mask_is_nearer_than_the_readers_binary_one_and_than_a_blur_of_it(drawn_by_readers, radius):
    soft, _, hard, half_pixel, pixel, *_ = drawn_by_readers(radius)
    assert soft < 0.6 * hard
    assert soft < 0.7 * half_pixel
    assert soft < 0.9 * pixel


@pytest.mark.parametrize("radius", [2, 3])
def test_with_eps_for_the_noise_no_width_of_blur_is_nearer(drawn_by_readers, radius):
    """Not even the one that turns out best, which is the scanner's own and which nobody is told."""
    _, soft, hard, *blurs = drawn_by_readers(radius)
    assert soft < 0.5 * hard
    assert soft < 0.97 * min(blurs)


def test_so_it_is_between_the_outlines_of_four_readers(nodules):
    def drawn(case):
        return trimap_from_annotators(case.extras["readers"]), (case.extras["readers"].mean(0) >= 0.5).astype(float)

    soft, hard, blur = errors(nodules, drawn, [matted(NOISY), binary, blurred(1.0)]).mean(axis=0)
    assert soft < 0.5 * hard
    assert soft < 0.9 * blur


def test_even_the_true_outline_is_farther_as_a_binary_mask(nodules):
    def drawn(case):
        return trimap_from_mask(case.label, 3), case.label.astype(float)

    found = errors(nodules, drawn, [matted(1e-7), binary])
    assert (found[:, 0] < found[:, 1]).mean() > 0.9
    assert found[:, 0].mean() < 0.6 * found[:, 1].mean()


def test_the_share_seen_is_what_the_image_shows(nodules):
    """About a solid nodule the image is a line in the share seen, not in the share before the blur."""
    residuals = []
    for case in (case for case in nodules if case.extras["kind"] == "solid"):
        near = ndimage.binary_dilation(case.label, iterations=3) & ~ndimage.binary_erosion(case.label, iterations=3)
        shares = [np.stack([case.extras[name][near], np.ones(near.sum())], 1) for name in ("seen", "alpha")]
        residuals.append([np.linalg.lstsq(share, case.image[near])[1][0] for share in shares])
        assert case.extras["seen"].sum() == pytest.approx(case.extras["alpha"].sum(), rel=1e-3)
    seen, alpha = np.mean(residuals, axis=0)
    assert seen < 0.75 * alpha
