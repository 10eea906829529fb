"""Soft Dice, with a squared or a plain denominator.

p are the probabilities, t the target, both (B, C, *space) in [0, 1].
"""

from __future__ import annotations

from torch import Tensor

from dsnotes.shapes import Probs, Scalar, SoftMask


def require_alike(p: Tensor, t: Tensor) -> None:
    """Check that prediction and target have the same shape, so that nothing is broadcast silently."""
    if p.shape == t.shape:
        return
    came = f"the prediction has shape {tuple(p.shape)}, the target {tuple(t.shape)}"
    if p.shape[0] != t.shape[0]:
        cure = "Take both from the same batch"
    elif p.ndim == t.ndim and p.shape[1] != t.shape[1]:
        cure = "Take the same classes of both: p[:, 1:] and t[:, 1:] leave out the background, one_hot(label, channels)"
        cure += " of dsnotes.supervision.targets gives a label as many channels as the prediction has"
    elif p.ndim == t.ndim:
        cure = f"downsample_target(label, {tuple(p.shape[2:])}, channels={p.shape[1]})"
        cure = f"Bring the label to the prediction's size: dsnotes.supervision.targets.{cure}"
    else:
        cure = f"Add channels to the label: dsnotes.supervision.targets.one_hot(label, {p.shape[1]})"
    raise ValueError(f"{came}; a loss needs the same shape (batch, channel, *space) for both. {cure}.")


def dice_coefficient(
    p: Probs, t: SoftMask, *, squared: bool = True, over_batch: bool = False, eps: float = 1e-5
) -> Tensor:
    r"""$D = \frac{2\sum p t + \epsilon}{\sum p^2 + \sum t^2 + \epsilon}$ of every image and class: (B, C), 1 is best.

    `squared=False` uses the denominator $\sum p + \sum t$. `over_batch=True` also sums over the batch and returns (C,),
    so that a patch without a class does not contribute a Dice near 0 of its own.
    """
    require_alike(p, t)
    space = tuple(range(2, p.ndim))
    summed = (0, *space) if over_batch else space
    size = (p * p).sum(summed) + (t * t).sum(summed) if squared else p.sum(summed) + t.sum(summed)
    return (2 * (p * t).sum(summed) + eps) / (size + eps)


def soft_dice(p: Probs, t: SoftMask, *, squared: bool = True, over_batch: bool = False, eps: float = 1e-5) -> Scalar:
    r"""$1 - D$, averaged over images and classes (`dice_coefficient`).

    The squared denominator (V-Net, sec. 3) makes this 0 exactly when p == t even for soft targets;
    with a plain sum, p = 1 beats p = t wherever t = 0.5.
    """
    return (1 - dice_coefficient(p, t, squared=squared, over_batch=over_batch, eps=eps)).mean()
