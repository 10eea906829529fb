"""The exponential-logarithmic Dice loss of MSS U-Net, after Wong et al. 2018, https://arxiv.org/abs/1809.00076"""

from __future__ import annotations

import torch

from dsnotes.losses.overlap import dice_coefficient, require_alike
from dsnotes.shapes import Probs, Scalar, SoftMask


def exponential_log(
    p: Probs,
    t: SoftMask,
    *,
    weights: tuple[float | int, ...] = (0.4, 0.6),
    gamma: float | int = 0.3,
    squared: bool = True,
    over_batch: bool = True,
    eps: float | int = 1e-5,
) -> Scalar:
    r"""$\sum_c w_c (-\ln D_c)^\gamma$ over the classes in p and t (pass the foreground alone, as the paper does).

    $-\ln D$ is kept above 1e-6, for the slope of $x^{0.3}$ at 0 is infinite: a perfect prediction would give NaN.
    With $\gamma = 0.3$ the slope in D is smallest at $D = e^{-0.7} \approx 0.497$ and grows on both sides of it.
    A class that is neither in p's target nor anywhere in the batch says nothing about its Dice: it is left out and
    the other weights are scaled up to the same sum.
    """
    require_alike(p, t)
    if len(weights) != p.shape[1]:
        raise ValueError(
            f"{len(weights)} weights {weights} came for {p.shape[1]} classes. Give one weight a foreground class, "
            f"for instance weights={(round(1 / p.shape[1], 3),) * p.shape[1]}."
        )
    d = dice_coefficient(p, t, squared=squared, over_batch=over_batch, eps=eps)  # (C,) or (B, C)
    cost = (-d.clamp_min(1e-7).log()).clamp_min(1e-6) ** gamma
    space = tuple(range(2, t.ndim))
    present = t.sum((0, *space) if over_batch else space) > 0  # like d
    w = torch.tensor(weights, dtype=p.dtype, device=p.device)
    kept = w * present  # (C,) or (B, C)
    scale = w.sum() / kept.sum(-1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)
    return (kept * scale * cost).sum(-1).mean()
