"""From a label map to what a prediction is compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from dsnotes.shapes import Label, Logits, Probs


def probabilities(logits: Logits) -> Probs:
    """Sigmoid of a single channel, softmax over several."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def one_hot(label: Label, channels: int) -> Probs:
    """(B, *space) class indices as (B, channels, *space) in {0, 1}; one channel means the foreground alone."""
    if channels == 1:
        return (label == 1).unsqueeze(1).float()
    classes = torch.arange(channels, device=label.device).view(-1, *[1] * (label.ndim - 1))
    return (label.unsqueeze(1) == classes).float()


def class_indices(label: Tensor, logits: Tensor) -> Label:
    """The label without a channel axis of one, checked against the grid of the logits."""
    if label.ndim == logits.ndim and label.shape[1] == 1:
        label = label[:, 0]
    if label.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"the label has shape {tuple(label.shape)}, the logits {tuple(logits.shape)}. A label holds class indices "
            f"as (batch, *space), here {(logits.shape[0], *logits.shape[2:])}: crop or resample both together."
        )
    return label.long()
