"""Soft Dice, with either denominator; a loss: 0 is best.

p are probabilities, t is the target, both (B, C, *space) in [0, 1].
"""

from __future__ import annotations

from torch import Tensor

from dsnotes.shapes import Probs, Scalar, SoftMask


def require_alike(p: Tensor, t: Tensor) -> None:
    """Prediction and target have one shape: others would be broadcast, and the loss be a number of something else."""
    if p.shape == t.shape:
        return
    came = f"the prediction has shape {tuple(p.shape)}, the target {tuple(t.shape)}"
    if p.shape[0] != t.shape[0]:
        cure = "Take both from one batch"
    elif p.ndim == t.ndim and p.shape[1] != t.shape[1]:
        cure = "Take the same classes of both: p[:, 1:] and t[:, 1:] leave out the background, one_hot(label, channels)"
        cure += " of dsnotes.supervision.targets gives a label as many channels as the prediction has"
    elif p.ndim == t.ndim:
        cure = f"downsample_target(label, {tuple(p.shape[2:])}, channels={p.shape[1]})"
        cure = f"Bring the label to the prediction's size: dsnotes.supervision.targets.{cure}"
    else:
        cure = f"Give a label its channels: dsnotes.supervision.targets.one_hot(label, {p.shape[1]})"
    raise ValueError(f"{came}; a loss needs two of one shape (batch, channel, *space). {cure}.")


def dice_coefficient(
    p: Probs, t: SoftMask, *, squared: bool = True, over_batch: bool = False, eps: float | int = 1e-5
) -> Tensor:
    r"""$D = \frac{2\sum p t + \epsilon}{\sum p^2 + \sum t^2 + \epsilon}$ of every image and class: (B, C), 1 is best.

    `squared=False` has $\sum p + \sum t$ below the line. `over_batch` takes the sums over the batch too and gives
    (C,): a patch without a class then borrows the others' voxels instead of reporting a Dice of nearly 0.
    """
    require_alike(p, t)
    space = tuple(range(2, p.ndim))
    summed = (0, *space) if over_batch else space
    size = (p * p).sum(summed) + (t * t).sum(summed) if squared else p.sum(summed) + t.sum(summed)
    return (2 * (p * t).sum(summed) + eps) / (size + eps)


def soft_dice(
    p: Probs, t: SoftMask, *, squared: bool = True, over_batch: bool = False, eps: float | int = 1e-5
) -> Scalar:
    r"""$1 - D$, averaged over images and classes (`dice_coefficient`).

    The squared denominator (V-Net, sec. 3) makes this 0 exactly when p == t even for soft targets;
    with a plain sum, p = 1 beats p = t wherever t = 0.5.
    """
    return (1 - dice_coefficient(p, t, squared=squared, over_batch=over_batch, eps=eps)).mean()
