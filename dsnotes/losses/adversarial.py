"""The two sides of the game between a segmenter and its critic, per pixel, on the critic's logits."""

from __future__ import annotations

from torch.nn import functional

from dsnotes.shapes import Logits, Scalar


def critic_loss(real: Logits, fake: Logits) -> Scalar:
    r"""$-[\overline{\ln D(x, y)} + \overline{\ln(1 - D(x, S(x)))}]$: it tells true masks from predicted ones."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def generator_loss(fake: Logits, *, saturating: bool = False) -> Scalar:
    r"""$-\overline{\ln D(x, S(x))}$, or literally $\overline{\ln(1 - D(x, S(x)))}$, whose gradient dies when D wins."""
    return -functional.softplus(fake).mean() if saturating else functional.softplus(-fake).mean()
