"""CKA against its definition by kernels, and what it is blind to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dsnotes.metrics import linear_cka


def layers(places=40, first=5, second=3):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(places, first))
    return x, x[:, :second] + rng.normal(size=(places, second)) + 3


def test_it_is_the_normalised_hsic_of_linear_kernels():
    """Kornblith et al. eq. 2 and 3: tr(KHLH) / sqrt(tr(KHKH) tr(LHLH)), K = X X^T, H = I - 1/n."""
    x, y = layers()
    h = np.eye(len(x)) - 1 / len(x)
    k, lel = x @ x.T, y @ y.T

    def hsic(a, b):
        return np.trace(a @ h @ b @ h)

    assert math.isclose(linear_cka(x, y), hsic(k, lel) / math.sqrt(hsic(k, k) * hsic(lel, lel)))


def test_a_rotation_a_scale_and_a_shift_are_not_seen():
    x, _ = layers()
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))
    assert math.isclose(linear_cka(x, -2 * x @ rotation + 7), 1)


def test_unrelated_channels_have_nothing_in_common():
    x = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    assert linear_cka(x, np.array([[1.0], [1.0], [-1.0], [-1.0]])) == 0


def test_a_constant_layer_says_nothing():
    assert math.isnan(linear_cka(np.ones((4, 2)), np.arange(8.0).reshape(4, 2)))


def test_other_places_are_refused():
    with pytest.raises(ValueError, match=r"shapes \(4, 2\) and \(3, 2\).*x\.transpose\(0, 2, 3, 1\)"):
        linear_cka(np.zeros((4, 2)), np.zeros((3, 2)))
