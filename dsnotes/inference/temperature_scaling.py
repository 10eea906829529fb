"""Temperature and vector scaling: recalibrate probabilities on validation cases, without training again.

Guo et al. 2017, https://arxiv.org/abs/1706.04599. Departure: they scale logits; here the logarithms of the deployed
probabilities, which equal the logits up to a constant that softmax ignores, so that ensembles, mirroring and sliding
windows are recalibrated too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dsnotes.data.conversion import SMALLEST, Array, Maps, as_array, as_list
from dsnotes.shapes import Float, Outputs, ProbabilityMap, Probs
from dsnotes.training.system import System

SLOPES = (1e-3, 1e3)  # of the logits, 1 / temperature


@dataclass(frozen=True)
class Scaling:
    """Logits times `slopes` plus `offsets`, one per channel or one for all; `scaling(p)` recalibrates (K, *space)."""

    slopes: tuple[float, ...] = (1.0,)
    offsets: tuple[float, ...] = (0.0,)

    @property
    def temperature(self) -> float:
        """1 / slope, for a scaling by temperature: above 1 where the network was too confident."""
        if len(self.slopes) > 1 or any(self.offsets):
            raise ValueError(f"{self} has no single temperature. Read its slopes and offsets.")
        return 1 / self.slopes[0]

    def __call__(self, p: Array) -> ProbabilityMap:
        return self.of_batch(torch.from_numpy(_checked(p))[None])[0].float().numpy()

    def of_batch(self, p: Float[Tensor, "batch classes *space"]) -> Probs:
        """The same for (B, K, *space) tensors on any device."""
        shape = (1, -1, *[1] * (p.ndim - 2))
        slopes, offsets = (p.new_tensor(x).view(shape) for x in (self.slopes, self.offsets))
        z = log_odds(p) * slopes + offsets
        return z.sigmoid() if p.shape[1] == 1 else z.softmax(1)


def fit_temperature(p: Maps, label: Maps) -> Scaling:
    """The temperature with the lowest log score on validation cases; never worse on them than no scaling.

    `p` are their probabilities (classes, *space), `label` their label maps or, for a single channel, shares (*space).
    The log score is convex in 1 / temperature, so its minimum is found. The likeliest class does not change.
    """
    return _fit(p, label, vector=False)


def fit_vector_scaling(p: Maps, label: Maps) -> Scaling:
    """A slope and an offset per channel (for a single one: Platt scaling); also convex and never worse.

    It can correct a class whose probability is too high everywhere; the likeliest class may change.
    """
    return _fit(p, label, vector=True)


def recalibrated(system: System, scaling: Scaling) -> System:
    """The system with its deployed probabilities scaled, for `dsnotes.predict`."""
    if system.deploy is None:
        raise ValueError(f"{system.name!r} does not segment, so it has no probabilities to scale.")
    deploy = system.deploy

    def scaled(outputs: Outputs) -> Probs:
        return scaling.of_batch(deploy(outputs))

    return replace(system, deploy=scaled)


def log_odds(p: Float[Tensor, "batch classes *space"]) -> Float[Tensor, "batch classes *space"]:
    """The logits of probabilities: log p - log(1 - p) of a single channel, log p of several."""
    p = p.clamp(SMALLEST, 1 - SMALLEST)
    return p.log() - (-p).log1p() if p.shape[1] == 1 else p.log()


def _fit(p: Maps, label: Maps, *, vector: bool) -> Scaling:
    from scipy.optimize import minimize

    z, t = _voxels(p, label)  # (n, K), both
    channels = z.shape[1]
    n = channels if vector else 1

    def cost(x: np.ndarray) -> tuple[float, np.ndarray]:
        """Log score and its gradient by slopes and offsets."""
        y = z * x[:n] + (x[n:] if vector else 0)
        if channels == 1:
            value = (np.logaddexp(0, y) - t * y).mean()
            q = 1 / (1 + np.exp(-y))
        else:
            top = y.max(1, keepdims=True)
            whole = top + np.log(np.exp(y - top).sum(1, keepdims=True))
            value = (whole[:, 0] - (t * y).sum(1)).mean()
            q = np.exp(y - whole)
        by_y = (q - t) / len(z)
        slopes = (by_y * z).sum(0)
        return float(value), np.concatenate([slopes, by_y.sum(0)]) if vector else slopes.sum(keepdims=True)

    start = np.concatenate([np.ones(n), np.zeros(n if vector else 0)])
    bounds = [SLOPES] * n + [(None, None)] * (len(start) - n)
    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-9})
    if not found.fun < cost(start)[0]:
        return Scaling()
    return Scaling(tuple(map(float, found.x[:n])), tuple(map(float, found.x[n:])) if vector else (0.0,))


def _voxels(p: Maps, label: Maps) -> tuple[np.ndarray, np.ndarray]:
    ps, labels = as_list(p), as_list(label)
    if not ps or len(ps) != len(labels):
        raise ValueError(
            f"{len(ps)} maps of probabilities came with {len(labels)} labels. Pass one of each per validation case."
        )
    zs, ts = [], []
    for one, truth in zip(ps, labels, strict=True):
        one, truth = _checked(one), as_array(truth, "the label", example="case.label")
        if one.shape[1:] != truth.shape:
            raise ValueError(
                f"p has shape {one.shape}, the label {truth.shape}. Pass (classes, *space) and (*space), such as "
                f"dsnotes.predict(system, case) and case.label."
            )
        highest = max(len(one) - 1, 1)
        if truth.size and (truth.min() < 0 or truth.max() > highest or (len(one) > 1 and truth.dtype.kind == "f")):
            raise ValueError(
                f"the label holds {truth.min():g} to {truth.max():g} ({truth.dtype}), but p has shape {one.shape}. "
                f"Pass class indices from 0 to {highest}, or, for a single channel, shares from 0 to 1."
            )
        zs.append(log_odds(torch.from_numpy(one)[None].double())[0].reshape(len(one), -1).numpy().T)
        flat = truth.reshape(-1, 1)
        ts.append(flat.astype(float) if len(one) == 1 else (flat == np.arange(len(one))).astype(float))
    return np.concatenate(zs), np.concatenate(ts)


def _checked(p: Array) -> np.ndarray:
    p = as_array(p, "p", example="probabilities, such as dsnotes.predict(system, case)")
    if p.ndim < 2 or not p.size or not (p.min() >= 0 and p.max() <= 1):
        seen = f" with values from {p.min():.4g} to {p.max():.4g}" if p.size else ""
        raise ValueError(
            f"an array of shape {p.shape}{seen} came, but probabilities (classes, *space) from 0 to 1 are needed. For "
            f"logits pass logits.sigmoid() or logits.softmax(0)."
        )
    return p
