"""The exponential-logarithmic Dice loss of MSS U-Net, after Wong et al. 2018, https://arxiv.org/abs/1809.00076"""

from __future__ import annotations

import torch

from dsnotes.losses.overlap import dice_coefficient, require_alike
from dsnotes.shapes import Probs, Scalar, SoftMask

ABSENT = ("left out", "kept")


def exponential_log(
    p: Probs,
    t: SoftMask,
    *,
    weights: tuple[float, ...] = (0.4, 0.6),
    gamma: float = 0.3,
    squared: bool = True,
    over_batch: bool = True,
    eps: float = 1e-5,
    absent: str = "left out",
) -> Scalar:
    r"""$\sum_c w_c (-\ln D_c)^\gamma$ over the classes in p and t (the paper passes only the foreground classes).

    $-\ln D$ is at least 1e-6: the slope of $x^{0.3}$ is infinite at 0, so a perfect prediction would give NaN.
    With $\gamma = 0.3$ the slope in D is smallest at $D = e^{-0.7} \approx 0.497$ and grows on both sides of it.
    If a class is absent from the target, its D is nearly 0. `absent="left out"` drops the class and scales the other
    weights up to the same sum; `absent="kept"` counts it, as the paper's equation and the authors' code do.
    """
    if absent not in ABSENT:
        raise ValueError(f"absent={absent!r} is unknown. Choose one of {list(ABSENT)}.")
    require_alike(p, t)
    if len(weights) != p.shape[1]:
        raise ValueError(
            f"{len(weights)} weights {weights} came for {p.shape[1]} classes. Pass one weight per foreground class, "
            f"for instance weights={(round(1 / p.shape[1], 3),) * p.shape[1]}."
        )
    d = dice_coefficient(p, t, squared=squared, over_batch=over_batch, eps=eps)  # (C,) or (B, C)
    cost = (-d.clamp_min(torch.finfo(d.dtype).tiny).log()).clamp_min(1e-6) ** gamma
    space = tuple(range(2, t.ndim))
    present = t.sum((0, *space) if over_batch else space) > 0  # (C,) or (B, C)
    w = torch.tensor(weights, dtype=p.dtype, device=p.device)
    if absent == "kept":
        return (w * cost).sum(-1).mean()
    kept = w * present
    scale = w.sum() / kept.sum(-1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)
    return (kept * scale * cost).sum(-1).mean()
