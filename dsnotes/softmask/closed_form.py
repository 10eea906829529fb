"""Closed-form matting as published: the Laplacian of a grey image, and a soft mask by a direct sparse solve.

Paper: Levin, Lischinski and Weiss 2008, "A Closed-Form Solution to Natural Image Matting", IEEE PAMI 30(2), Eq. 5.
This is the reference to read and to test against; `soft_mask` solves the same equations faster, in a narrow band.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
import scipy.sparse.linalg


def laplacian(image: np.ndarray, eps: float, window: tuple[int, ...] | None = None) -> scipy.sparse.csr_matrix:
    """L_ij = Σ_{w ∋ i, j} [δ_ij − (1 + (I_i − μ)(I_j − μ) / (σ² + ε/m)) / m], written out window by window."""
    window = window or (3,) * image.ndim
    pixels = np.arange(image.size).reshape(image.shape)
    of = np.lib.stride_tricks.sliding_window_view(pixels, window).reshape(-1, np.prod(window))
    m = of.shape[1]
    grey = image.ravel()[of]
    away = grey - grey.mean(1, keepdims=True)
    variance = (away**2).mean(1)
    values = np.eye(m) - (1 + away[:, :, None] * away[:, None, :] / (variance + eps / m)[:, None, None]) / m
    rows, columns = np.repeat(of, m, axis=1), np.tile(of, (1, m))
    return scipy.sparse.csr_matrix((values.ravel(), (rows.ravel(), columns.ravel())), (image.size,) * 2)


def direct(image: np.ndarray, trimap: np.ndarray, eps: float, window: tuple[int, ...] | None = None) -> np.ndarray:
    """α by a direct sparse solve with known pixels held fixed, clamped to [0, 1]."""
    matrix = laplacian(image, eps, window)
    unknown = (trimap == 0).ravel()
    alpha = (trimap > 0).ravel().astype(float)
    right = -matrix[unknown][:, ~unknown] @ alpha[~unknown]
    alpha[unknown] = scipy.sparse.linalg.spsolve(matrix[unknown][:, unknown].tocsc(), right)
    return alpha.clip(0, 1).reshape(image.shape)
