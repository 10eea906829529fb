"""Assemble and solve the matting equations on the unknown pixels, one connected band at a time, in numba.

Two pixels are coupled if a window contains both, so a band is a connected set of unknown pixels at most two steps
apart. With breadth-first numbering from one of its ends, the matrix of a ring is a narrow strip: Gaussian elimination
inside it is exact and, for rings, faster than iterating (benchmarks/matting_strip.py), but its memory grows with the
strip's width. Wide bands and 3-D shells use conjugate gradients, computed window by window.

Everything that these functions call is in this file, because numba checks only the file of the called function to
see whether its cache is stale.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from dsnotes.data.compiled import kernel

UNSEEN, OUTSIDE, LESION = -1, -2, -3  # values of `number` before numbering, and for known pixels
STRIP_LIMIT = 200  # unknowns; elimination of a wider strip saves little time for its memory
PANEL = 8  # columns eliminated together: the vectors of AVX-512, and two panels fit its registers
STRIDE = 1032  # longest column of a strip: 1024, plus 8 so that columns do not evict each other from the cache


@kernel
@no_type_check
def _nearest_first(reach):
    """(dz, dy, dx) from a pixel to all that share a window with it, nearest first, which keeps the strip narrow."""
    steps = np.empty((25 * (4 * reach + 1) - 1, 3), np.int64)
    count = 0
    for square in range(1, 9 + 4 * reach):
        for dz in range(-2 * reach, 2 * reach + 1):
            for dy in range(-2, 3):
                for dx in range(-2, 3):
                    if dz * dz + dy * dy + dx * dx == square:
                        steps[count, 0], steps[count, 1], steps[count, 2] = dz, dy, dx
                        count += 1
    return steps


@kernel
@no_type_check
def _number_breadth_first(seed, start, number, shape, steps, queue, last):
    """Number all pixels coupled to `seed` breadth first, from `start` on; return the end and the neighbours' kinds.

    All neighbours of pixel j and of the pixels before it have numbers up to `last[j]`, which bounds the strip.
    """
    depth, height, width = shape
    offsets = (steps[:, 0] * height + steps[:, 1]) * width + steps[:, 2]
    deep = steps[:, 0].max()
    number[seed] = start
    queue[start] = seed
    head, end = start, start + 1
    beside_lesion = beside_outside = False
    while head < end:
        pixel = queue[head]
        z, y, x = pixel // (height * width), pixel // width % height, pixel % width
        within = deep <= z < depth - deep and 2 <= y < height - 2 and 2 <= x < width - 2
        for t in range(offsets.size):
            if not within:
                zz, yy, xx = z + steps[t, 0], y + steps[t, 1], x + steps[t, 2]
                if not (0 <= zz < depth and 0 <= yy < height and 0 <= xx < width):
                    continue
            near = np.uint64(pixel + offsets[t])  # unsigned indices spare numba's checks for negative ones
            kind = number[near]
            if kind >= 0:
                continue
            if kind == UNSEEN:
                number[near] = end
                queue[np.uint64(end)] = near
                end += 1
            elif kind == OUTSIDE:
                beside_outside = True
            else:
                beside_lesion = True
        last[head] = end - 1
        head += 1
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
                    if not seen[np.uint64(centre)]:
                        seen[np.uint64(centre)] = True
                        centres[np.uint64(count)] = centre
                        count += 1
    return centres[:count].copy()


@kernel
@no_type_check
def _deviations(image, centre, offsets, weights, eps, d):
    """d = w(I − μ) / √(Σ w(I − μ)² + ε): with it a window's Laplacian is diag(w) − u·uᵀ − d·dᵀ, u = w / √Σw."""
    m = offsets.size
    mean = total = 0.0
    for t in range(m):
        d[t] = image[np.uint64(centre + offsets[t])]
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
def _panel_layout(last):
    """The strip as panels of `PANEL` columns, each a dense block down to the last row that any of them reaches.

    Returns each panel's first entry and height, the number of entries, and `base`: entry (i, j) is at base[j] + i. Both
    sides of a panel are multiples of `PANEL`, so that all loops over rows run in whole vectors.
    """
    n = last.size
    panels = (n + PANEL - 1) // PANEL
    starts, heights = np.empty(panels, np.int64), np.empty(panels, np.int64)
    base = np.empty(panels * PANEL, np.int64)
    entries = 0
    for panel in range(panels):
        first = PANEL * panel
        rows = last[min(first + PANEL, n) - 1] + 1 - first
        starts[panel], heights[panel] = entries, (rows + PANEL - 1) // PANEL * PANEL
        for r in range(PANEL):
            base[first + r] = entries + r * heights[panel] - first
        entries += PANEL * heights[panel]
    return starts, heights, entries, base


@kernel
@no_type_check
def _assemble(image, centres, offsets, weights, eps, number, start, base, matrix, right):
    """Add every window to the strip's lower triangle; known lesion pixels go to `right`, the right-hand side."""
    m = offsets.size
    d, u, u_inside = np.empty(m), weights / np.sqrt(weights.sum()), np.empty(m)
    index, column = np.empty(m, np.uint64), np.empty(m, np.uint64)
    for centre in centres:
        _deviations(image, centre, offsets, weights, eps, d)
        mean = slope = 0.0
        inside = 0
        for t in range(m):
            near = number[np.uint64(centre + offsets[t])]
            if near >= 0:
                j = np.uint64(near - start)
                index[inside], column[inside] = j, np.uint64(base[j])
                matrix[column[inside] + j] += weights[t]
                d[inside], u_inside[inside] = d[t], u[t]
                inside += 1
            elif near == LESION:
                mean += u[t]
                slope += d[t]
        for s in range(inside):
            i, below, u_i, d_i = index[s], column[s], u_inside[s], d[s]
            right[i] += mean * u_i + slope * d_i
            for t in range(s + 1):
                j = index[t]
                entry = below + j if j > i else column[t] + i
                matrix[entry] -= u_inside[t] * u_i + d[t] * d_i


@kernel
@no_type_check
def _eliminate(matrix, starts, heights, right):
    """Solve in place: L·D·Lᵀ inside the strip, `PANEL` = 8 columns at a time; padding has 1 on the diagonal.

    A panel is copied, once as it is and once divided by its pivots, to columns that are a constant `STRIDE` apart. Thus
    the compiler knows that they do not overlap the two columns being updated, and vectorises the loop. Sums are written
    out to keep the panel in registers.
    """
    panel_of, share_of = np.empty(PANEL * STRIDE), np.empty(PANEL * STRIDE)
    for panel in range(heights.size):
        h = heights[panel]
        block, x = matrix[starts[panel] : starts[panel] + PANEL * h], right[PANEL * panel : PANEL * panel + h]
        for r in range(PANEL):
            done = block[r * h : r * h + h]
            inverse = 1.0 / done[r]
            for q in range(r + 1, PANEL):
                target, share = block[q * h : q * h + h], done[q] * inverse
                for i in range(h):
                    target[i] -= share * done[i]
        for r in range(PANEL):
            done = block[r * h : r * h + h]
            whole, shares = panel_of[r * STRIDE : r * STRIDE + h], share_of[r * STRIDE : r * STRIDE + h]
            inverse = 1.0 / done[r]
            for i in range(h):
                whole[i] = done[i]
                shares[i] = done[i] * inverse
            for q in range(r + 1, PANEL):
                x[q] -= shares[q] * x[r]
        x0, x1, x2, x3, x4, x5, x6, x7 = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
        rows, p = x[PANEL:], share_of[PANEL:]
        for i in range(rows.size):
            early = x0 * p[i] + x1 * p[STRIDE + i] + x2 * p[2 * STRIDE + i] + x3 * p[3 * STRIDE + i]
            late = x4 * p[4 * STRIDE + i] + x5 * p[5 * STRIDE + i] + x6 * p[6 * STRIDE + i] + x7 * p[7 * STRIDE + i]
            rows[i] -= early + late
        for k in range(PANEL, h, 2):
            first = k // PANEL * PANEL  # rows from here on; what lies above the diagonal is never read
            after, size = panel + k // PANEL, h - first
            at = starts[after] + (k - first) * heights[after]
            left, other = matrix[at : at + size], matrix[at + heights[after] : at + heights[after] + size]
            s, p = share_of[k : k + 7 * STRIDE + 2], panel_of[first:]
            a0, a1, a2, a3 = s[0], s[STRIDE], s[2 * STRIDE], s[3 * STRIDE]
            a4, a5, a6, a7 = s[4 * STRIDE], s[5 * STRIDE], s[6 * STRIDE], s[7 * STRIDE]
            b0, b1, b2, b3 = s[1], s[STRIDE + 1], s[2 * STRIDE + 1], s[3 * STRIDE + 1]
            b4, b5, b6, b7 = s[4 * STRIDE + 1], s[5 * STRIDE + 1], s[6 * STRIDE + 1], s[7 * STRIDE + 1]
            for i in range(size):
                p0, p1, p2, p3 = p[i], p[STRIDE + i], p[2 * STRIDE + i], p[3 * STRIDE + i]
                p4, p5, p6, p7 = p[4 * STRIDE + i], p[5 * STRIDE + i], p[6 * STRIDE + i], p[7 * STRIDE + i]
                left[i] -= a0 * p0 + a1 * p1 + a2 * p2 + a3 * p3 + a4 * p4 + a5 * p5 + a6 * p6 + a7 * p7
                other[i] -= b0 * p0 + b1 * p1 + b2 * p2 + b3 * p3 + b4 * p4 + b5 * p5 + b6 * p6 + b7 * p7
    for panel in range(heights.size - 1, -1, -1):
        h = heights[panel]
        block, x = matrix[starts[panel] : starts[panel] + PANEL * h], right[PANEL * panel : PANEL * panel + h]
        for r in range(PANEL):
            below, known = block[r * h + PANEL : r * h + h], 0.0
            rows = x[PANEL:]
            for i in range(rows.size):
                known += below[i] * rows[i]
            x[r] -= known
        for r in range(PANEL - 1, -1, -1):
            for q in range(r + 1, PANEL):
                x[r] -= block[r * h + q] * x[q]
            x[r] /= block[r * h + r]


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
def solve_bands(image, trimap, eps, weights, strip_limit, tolerance, limit):
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
    steps = _nearest_first(reach)
    queue, last = np.empty(unknown, np.int32), np.empty(unknown, np.int32)
    seen = np.zeros(values.size, np.bool_)
    end, unsettled = 0, 0
    for pixel in range(values.size):
        if number[pixel] != UNSEEN:
            continue
        start = end
        end, beside_lesion, beside_outside = _number_breadth_first(pixel, start, number, shape, steps, queue, last)
        if not (beside_lesion and beside_outside):  # energy 0: the value of the kind it touches, or ½
            constant = 1.0 if beside_lesion else 0.0 if beside_outside else 0.5
            for j in range(start, end):
                alpha[queue[j]] = constant
            continue
        far = queue[end - 1]  # numbered from one end, an open band has a strip half as wide
        for j in range(start, end):
            number[queue[j]] = UNSEEN
        _number_breadth_first(far, start, number, shape, steps, queue, last)
        band = queue[start:end]
        n = band.size
        centres = _window_centres(band, shape, reach, seen)
        reached = last[start:end] - np.int32(start)
        starts, heights, entries, base = _panel_layout(reached)
        squares = 0.0
        for j in range(n):
            squares += float(reached[j] - j) ** 2
        if squares <= n * float(strip_limit) ** 2 and heights.max() <= STRIDE:
            matrix, solution = np.zeros(entries), np.zeros(base.size)
            for j in range(n, base.size):
                matrix[base[j] + j] = 1.0
            _assemble(values, centres, offsets, weights, eps, number, start, base, matrix, solution)
            _eliminate(matrix, starts, heights, solution)
        else:
            solution, settled = _iterate(values, centres, offsets, weights, eps, number, start, n, tolerance, limit)
            if not settled:
                unsettled += n
        for j in range(n):
            alpha[band[j]] = min(1.0, max(0.0, solution[j]))
    return alpha.reshape(shape), unsettled
