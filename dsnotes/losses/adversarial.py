"""The adversarial losses of a critic and of the network it is trained against, from the critic's logits."""

from __future__ import annotations

from torch.nn import functional

from dsnotes.shapes import Logits, Scalar


def critic_loss(real: Logits, fake: Logits) -> Scalar:
    r"""$-[\overline{\ln D(x, y)} + \overline{\ln(1 - D(x, S(x)))}]$: the critic learns to tell true from predicted."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def generator_loss(fake: Logits, *, saturating: bool = False) -> Scalar:
    r"""$-\overline{\ln D(x, S(x))}$, or $\overline{\ln(1 - D(x, S(x)))}$, whose gradient vanishes once D wins."""
    return -functional.softplus(fake).mean() if saturating else functional.softplus(-fake).mean()
