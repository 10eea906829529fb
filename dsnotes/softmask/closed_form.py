"""Closed-form matting as published: the Laplacian of a grey image, and a soft mask by a direct sparse solve.

Paper: Levin, Lischinski and Weiss 2008, "A Closed-Form Solution to Natural Image Matting", IEEE PAMI 30(2), Eq. 5.
This is the reference to read and to test against; `soft_mask` solves the same equations faster, in a narrow band.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
import scipy.sparse.linalg


def laplacian(image: np.ndarray, eps: float, weights: np.ndarray | None = None) -> scipy.sparse.csr_matrix:
    """L_ij = Σ_{v ∋ i, j} [w_i δ_ij − w_i w_j (1 + (I_i − μ)(I_j − μ) / (σ² + ε/m)) / m], written out window by window.

    `weights` has the window's shape; μ and σ² are weighted too, and m is the sum of the weights. As published, the
    window is 3 pixels wide and all weights are 1, so that m is the number of its pixels.
    """
    weights = np.ones((3,) * image.ndim) if weights is None else weights
    pixels = np.arange(image.size).reshape(image.shape)
    of = np.lib.stride_tricks.sliding_window_view(pixels, weights.shape).reshape(-1, weights.size)
    w, m = weights.ravel(), weights.sum()
    grey = image.ravel()[of]
    away = grey - (grey @ w / m)[:, None]
    variance = away**2 @ w / m
    pairs = 1 + away[:, :, None] * away[:, None, :] / (variance + eps / m)[:, None, None]
    values = np.diag(w) - np.outer(w, w) * pairs / m
    rows, columns = np.repeat(of, w.size, axis=1), np.tile(of, (1, w.size))
    return scipy.sparse.csr_matrix((values.ravel(), (rows.ravel(), columns.ravel())), (image.size,) * 2)


def direct(image: np.ndarray, trimap: np.ndarray, eps: float, weights: np.ndarray | None = None) -> np.ndarray:
    """α by a direct sparse solve with known pixels held fixed, clamped to [0, 1]."""
    matrix = laplacian(image, eps, weights)
    unknown = (trimap == 0).ravel()
    alpha = (trimap > 0).ravel().astype(float)
    right = -matrix[unknown][:, ~unknown] @ alpha[~unknown]
    alpha[unknown] = scipy.sparse.linalg.spsolve(matrix[unknown][:, unknown].tocsc(), right)
    return alpha.clip(0, 1).reshape(image.shape)
