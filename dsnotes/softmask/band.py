"""Assemble and solve the matting equations on the unknown pixels, one connected band at a time, in numba.

Two pixels are coupled if a window contains both, so a band is a connected set of unknown pixels at most two steps
apart. With breadth-first numbering from one of its ends, the matrix of a ring is banded: Gaussian elimination inside
the band of the matrix is exact and, for rings up to about twenty pixels wide, faster than iterating. Wide bands and
3-D shells use conjugate gradients, computed window by window.

All compiled code is in this file, because numba checks only the file of the called function to see whether its
cache is stale.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np

UNSEEN, OUTSIDE, LESION = -1, -2, -3  # values of `number` before numbering, and for known pixels
FRONT_LIMIT = 200  # unknowns; for a wider strip, iterating is faster
PANEL = 4  # columns eliminated together, to save memory traffic


def kernel(function):
    """Compile; cache the machine code beside the source, else in the user's cache folder, else not at all."""
    options = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz", "arcp"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError as error:
        if "cannot cache function" not in str(error):
            raise
        return numba.njit(**options)(function)  # read-only install without a home folder: compile every time


@kernel
@no_type_check
def _spread(seed, start, number, shape, reach, queue, last):
    """Number all pixels coupled to `seed` breadth first, from `start` on; return the end and the neighbours' kinds.

    All neighbours of pixel j and of the pixels before it have numbers up to `last[j]`, which bounds the strip.
    """
    depth, height, width = shape
    number[seed] = start
    queue[start] = seed
    served, end = start, start + 1
    beside_lesion = beside_outside = False
    while served < end:
        pixel = queue[served]
        z, y, x = pixel // (height * width), pixel // width % height, pixel % width
        for zz in range(max(0, z - 2 * reach), min(depth, z + 2 * reach + 1)):
            for yy in range(max(0, y - 2), min(height, y + 3)):
                row = (zz * height + yy) * width
                for near in range(row + max(0, x - 2), row + min(width, x + 3)):
                    kind = number[near]
                    if kind == UNSEEN:
                        number[near] = end
                        queue[end] = near
                        end += 1
                    elif kind == OUTSIDE:
                        beside_outside = True
                    elif kind == LESION:
                        beside_lesion = True
        last[served] = end - 1
        served += 1
    return end, beside_lesion, beside_outside


@kernel
@no_type_check
def _window_centres(band, shape, reach, seen):
    """Centres of all windows that contain a pixel of the band; windows lie entirely inside the image."""
    depth, height, width = shape
    centres = np.empty(band.size * 9 * (2 * reach + 1), np.int64)
    count = 0
    for pixel in band:
        z, y, x = pixel // (height * width), pixel // width % height, pixel % width
        for zz in range(max(reach, z - reach), min(depth - reach, z + reach + 1)):
            for yy in range(max(1, y - 1), min(height - 1, y + 2)):
                row = (zz * height + yy) * width
                for centre in range(row + max(1, x - 1), row + min(width - 1, x + 2)):
                    if not seen[centre]:
                        seen[centre] = True
                        centres[count] = centre
                        count += 1
    return centres[:count].copy()


@kernel
@no_type_check
def _deviations(image, centre, offsets, weights, eps, d):
    """d = w(I − μ) / √(Σ w(I − μ)² + ε): with it a window's Laplacian is diag(w) − u·uᵀ − d·dᵀ, u = w / √Σw."""
    m = offsets.size
    mean = total = 0.0
    for t in range(m):
        d[t] = image[centre + offsets[t]]
        mean += weights[t] * d[t]
        total += weights[t]
    mean /= total
    energy = eps
    for t in range(m):
        d[t] -= mean
        energy += weights[t] * d[t] * d[t]
    scale = 1.0 / np.sqrt(energy)
    for t in range(m):
        d[t] *= weights[t] * scale


@kernel
@no_type_check
def _assemble(image, centres, offsets, weights, eps, number, start, column, matrix, right):
    """Add every window to the strip: entry (i, j), i ≥ j, lies at column[j] + i − j. Known lesion goes to `right`."""
    m = offsets.size
    d, u, u_inside = np.empty(m), weights / np.sqrt(weights.sum()), np.empty(m)
    index = np.empty(m, np.int64)
    for centre in centres:
        _deviations(image, centre, offsets, weights, eps, d)
        mean = slope = 0.0
        inside = 0
        for t in range(m):
            near = number[centre + offsets[t]]
            if near >= 0:
                index[inside] = near - start
                matrix[column[near - start]] += weights[t]
                d[inside], u_inside[inside] = d[t], u[t]
                inside += 1
            elif near == LESION:
                mean += u[t]
                slope += d[t]
        for s in range(inside):
            i = index[s]
            right[i] += mean * u_inside[s] + slope * d[s]
            for t in range(s + 1):
                j = index[t]
                matrix[column[min(i, j)] + abs(i - j)] -= u_inside[s] * u_inside[t] + d[s] * d[t]


@kernel
@no_type_check
def _eliminate(matrix, column, last, right):
    """Solve in place: L·D·Lᵀ inside the strip, `PANEL` columns at a time.

    Slices are used instead of index sums: numba then skips checks for negative indices, which halves the time.
    """
    n = right.size
    for first in range(0, n, PANEL):
        end = last[first] + 1  # the same for the whole panel
        size = min(PANEL, n - first)
        for r in range(size):
            done = matrix[column[first + r] : column[first + r] + end - first - r]
            for q in range(r + 1, size):
                target = matrix[column[first + q] : column[first + q] + end - first - q]
                share, source = done[q - r] / done[0], done[q - r :]
                for i in range(target.size):
                    target[i] -= share * source[i]
        rest = end - first - PANEL
        if rest <= 0:
            continue
        a = matrix[column[first] + 4 : column[first] + 4 + rest]
        b = matrix[column[first + 1] + 3 : column[first + 1] + 3 + rest]
        c = matrix[column[first + 2] + 2 : column[first + 2] + 2 + rest]
        d = matrix[column[first + 3] + 1 : column[first + 3] + 1 + rest]
        pivot_a, pivot_b = matrix[column[first]], matrix[column[first + 1]]
        pivot_c, pivot_d = matrix[column[first + 2]], matrix[column[first + 3]]
        for k in range(rest):
            target = matrix[column[first + PANEL + k] : column[first + PANEL + k] + rest - k]
            share_a, share_b, share_c, share_d = a[k] / pivot_a, b[k] / pivot_b, c[k] / pivot_c, d[k] / pivot_d
            ak, bk, ck, dk = a[k:], b[k:], c[k:], d[k:]
            for i in range(target.size):
                target[i] -= share_a * ak[i] + share_b * bk[i] + share_c * ck[i] + share_d * dk[i]
    for j in range(n):
        below, rows = matrix[column[j] + 1 : column[j] + 1 + last[j] - j], right[j + 1 : last[j] + 1]
        solved = right[j] / matrix[column[j]]
        for i in range(rows.size):
            rows[i] -= below[i] * solved
    for j in range(n - 1, -1, -1):
        below, rows = matrix[column[j] + 1 : column[j] + 1 + last[j] - j], right[j + 1 : last[j] + 1]
        known = 0.0
        for i in range(rows.size):
            known += below[i] * rows[i]
        right[j] = (right[j] - known) / matrix[column[j]]


@kernel
@no_type_check
def _iterate(image, centres, offsets, weights, eps, number, start, n, tolerance, limit):
    """Conjugate gradients with a diagonal preconditioner; the matrix is applied window by window, never assembled."""
    m = offsets.size
    u = weights / np.sqrt(weights.sum())
    d = np.empty((centres.size, m))
    index = np.empty((centres.size, m), np.uint32)  # number in the band; n for known pixels
    windows, diagonal, residual = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1)
    for w in range(centres.size):
        _deviations(image, centres[w], offsets, weights, eps, d[w])
        mean = slope = 0.0
        for t in range(m):
            near = number[centres[w] + offsets[t]]
            index[w, t] = near - start if near >= 0 else n
            if near == LESION:
                mean += u[t]
                slope += d[w, t]
        for t in range(m):
            windows[index[w, t]] += weights[t]
            diagonal[index[w, t]] += weights[t] - u[t] ** 2 - d[w, t] ** 2
            residual[index[w, t]] += mean * u[t] + slope * d[w, t]
    x, direction, image_of = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1)
    energy = 0.0
    for i in range(n):
        direction[i] = residual[i] / diagonal[i]
        energy += residual[i] * direction[i]
    enough = tolerance**2 * eps  # the weakest modes, isolated bright pixels, have weights as small as ε
    for _ in range(limit):
        if energy <= enough:
            return x[:n], True
        for i in range(n):
            image_of[i] = windows[i] * direction[i]
        for w in range(centres.size):
            pixels, deviation = index[w], d[w]
            mean = slope = 0.0
            for t in range(m):
                value = direction[pixels[t]]
                mean += u[t] * value
                slope += deviation[t] * value
            for t in range(m):
                image_of[pixels[t]] -= mean * u[t] + slope * deviation[t]
        curvature = 0.0
        for i in range(n):
            curvature += direction[i] * image_of[i]
        step = energy / curvature
        previous, energy = energy, 0.0
        for i in range(n):
            x[i] += step * direction[i]
            residual[i] -= step * image_of[i]
            energy += residual[i] ** 2 / diagonal[i]
        for i in range(n):
            direction[i] = residual[i] / diagonal[i] + energy / previous * direction[i]
    return x[:n], False


@kernel
@no_type_check
def solve_bands(image, trimap, eps, weights, front_limit, tolerance, limit):
    """α of every pixel of a stack, and the number of pixels in bands where the iteration did not converge.

    `weights` has one entry for every pixel of the window: 9 for 3×3 inside a slice, 27 for 3×3×3.
    """
    shape, reach = trimap.shape, weights.size // 27
    values, kinds = image.ravel(), trimap.ravel()
    alpha = np.empty(values.size, np.float32)
    number = np.empty(values.size, np.int32)
    unknown = 0
    for pixel in range(values.size):
        alpha[pixel] = kinds[pixel] > 0
        if kinds[pixel] == 0:
            number[pixel] = UNSEEN
            unknown += 1
        else:
            number[pixel] = LESION if kinds[pixel] > 0 else OUTSIDE
    offsets = np.empty(weights.size, np.int64)
    for t in range(offsets.size):
        offsets[t] = ((t // 9 - reach) * shape[1] + t // 3 % 3 - 1) * shape[2] + t % 3 - 1
    queue, last = np.empty(unknown, np.int32), np.empty(unknown, np.int32)
    seen = np.zeros(values.size, np.bool_)
    end, unsettled = 0, 0
    for pixel in range(values.size):
        if number[pixel] != UNSEEN:
            continue
        start = end
        end, beside_lesion, beside_outside = _spread(pixel, start, number, shape, reach, queue, last)
        if not (beside_lesion and beside_outside):  # energy 0: the value of the kind it touches, or ½
            constant = 1.0 if beside_lesion else 0.0 if beside_outside else 0.5
            for j in range(start, end):
                alpha[queue[j]] = constant
            continue
        far = queue[end - 1]  # numbered from one end, an open band has a strip half as wide
        for j in range(start, end):
            number[queue[j]] = UNSEEN
        _spread(far, start, number, shape, reach, queue, last)
        band = queue[start:end]
        n = band.size
        centres = _window_centres(band, shape, reach, seen)
        reached = last[start:end] - np.int32(start)
        squares = 0.0
        for j in range(n):
            reached[j] = reached[min(j | (PANEL - 1), n - 1)]
            squares += float(reached[j] - j) ** 2
        if squares <= n * float(front_limit) ** 2:
            column = np.empty(n, np.int64)
            entries = 0
            for j in range(n):
                column[j] = entries
                entries += reached[j] - j + 1
            matrix, solution = np.zeros(entries), np.zeros(n)
            _assemble(values, centres, offsets, weights, eps, number, start, column, matrix, solution)
            _eliminate(matrix, column, reached, solution)
        else:
            solution, settled = _iterate(values, centres, offsets, weights, eps, number, start, n, tolerance, limit)
            if not settled:
                unsettled += n
        for j in range(n):
            alpha[band[j]] = min(1.0, max(0.0, solution[j]))
    return alpha.reshape(shape), unsettled
