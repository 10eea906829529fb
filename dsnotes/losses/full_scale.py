"""UNet3+'s hybrid loss: focal loss per pixel, structural similarity per patch, IoU per map.

Huang et al. 2020, https://arxiv.org/abs/2004.08790, Eq. 4; MS-SSIM is Wang, Simoncelli and Bovik's of 2003.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dsnotes.losses.overlap import require_alike
from dsnotes.shapes import Logits, Probs, Scalar, SoftMask

WINDOW, SIGMA = 11, 1.5
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # fine to coarse
CONSTANTS = (0.01**2, 0.03**2)
CONV = {2: functional.conv2d, 3: functional.conv3d}
HALVE = {2: functional.avg_pool2d, 3: functional.avg_pool3d}


def focal(logits: Logits, t: SoftMask, *, gamma: float = 2.0) -> Scalar:
    r"""$-\overline{\sum_c t_c (1 - p_c)^\gamma \ln p_c}$: cross-entropy with less weight on easy pixels.

    A single channel is the foreground of two classes.
    """
    require_alike(logits, t)
    if logits.shape[1] == 1:
        logits, t = torch.cat([torch.zeros_like(logits), logits], dim=1), torch.cat([1 - t, t], dim=1)
    log_p = logits.log_softmax(1)
    return -(t * (1 - log_p.exp()) ** gamma * log_p).sum(1).mean()


def soft_iou(p: Probs, t: SoftMask, *, eps: float = 1e-5) -> Scalar:
    r"""$1 - \frac{\sum p t}{\sum p + \sum t - \sum p t}$, averaged over images and classes."""
    require_alike(p, t)
    space = tuple(range(2, p.ndim))
    overlap = (p * t).sum(space)
    return (1 - (overlap + eps) / (p.sum(space) + t.sum(space) - overlap + eps)).mean()


def ms_ssim(p: Probs, t: SoftMask) -> Scalar:
    r"""$1 - \prod_m (l_m^{\beta_m}) \, cs_m^{\beta_m}$ with the luminance l at the coarsest scale only; p, t in [0, 1].

    Scales smaller than the window of 11 are left out, and the other weights are scaled to sum to 1; all five scales
    need 176 pixels along each axis. Similarities are clamped to 1e-6 or more: the slope of a power below one is
    infinite at 0.
    """
    require_alike(p, t)
    shortest = min(p.shape[2:])
    if shortest < WINDOW:
        raise ValueError(
            f"a map of {tuple(p.shape[2:])} is smaller than MS-SSIM's window of {WINDOW}. "
            f"Use patches of at least {WINDOW} along each axis, or another loss."
        )
    scales = sum(shortest >> m >= WINDOW for m in range(len(SCALE_WEIGHTS)))
    dims, product = p.ndim - 2, torch.ones((), device=p.device)
    for m, weight in enumerate(SCALE_WEIGHTS[:scales]):
        luminance, structure = similarity(p, t)
        value = luminance * structure if m == scales - 1 else structure
        value = value.mean(tuple(range(2, p.ndim))).clamp_min(1e-6)  # (B, C)
        product = product * value ** (weight / sum(SCALE_WEIGHTS[:scales]))
        p, t = HALVE[dims](p, 2), HALVE[dims](t, 2)
    return (1 - product).mean()


def similarity(p: Probs, t: SoftMask) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast times structure, in every complete Gaussian window."""
    c1, c2 = CONSTANTS
    mean_p, mean_t = blur(p), blur(t)
    var_p, var_t = blur(p * p) - mean_p**2, blur(t * t) - mean_t**2
    covariance = blur(p * t) - mean_p * mean_t
    luminance = (2 * mean_p * mean_t + c1) / (mean_p**2 + mean_t**2 + c1)
    return luminance, (2 * covariance + c2) / (var_p + var_t + c2)


def blur(x: Tensor) -> Tensor:
    """Gaussian filter, one axis after the other, without padding."""
    at = torch.arange(WINDOW, device=x.device, dtype=x.dtype) - WINDOW // 2
    kernel = (-(at**2) / (2 * SIGMA**2)).exp()
    kernel = kernel / kernel.sum()
    dims, channels = x.ndim - 2, x.shape[1]
    for axis in range(dims):
        shape = [1] * (dims + 2)
        shape[2 + axis] = WINDOW
        x = CONV[dims](x, kernel.view(shape).repeat(channels, *[1] * (dims + 1)), groups=channels)
    return x


def full_scale(logits: Logits, t: SoftMask) -> Scalar:
    """focal + MS-SSIM + IoU; the last two over the foreground classes."""
    require_alike(logits, t)
    if logits.shape[1] == 1:
        p, of = logits.sigmoid(), t
    else:
        p, of = logits.softmax(1)[:, 1:], t[:, 1:]
    return focal(logits, t) + ms_ssim(p, of) + soft_iou(p, of)
