"""From a label map to what a prediction is compared with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dsnotes.shapes import CoarseMask, Label, Logits, Probs


def probabilities(logits: Logits) -> Probs:
    """Sigmoid of a single channel, softmax over several."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def one_hot(label: Label, channels: int) -> Probs:
    """(B, *space) class indices as (B, channels, *space) in {0, 1}; one channel means the foreground alone."""
    require_known(label, channels)
    if channels == 1:
        return (label == 1).unsqueeze(1).float()
    classes = torch.arange(channels, device=label.device).view(-1, *[1] * (label.ndim - 1))
    return (label.unsqueeze(1) == classes).float()


def require_known(label: Label, channels: int) -> None:
    """Refuse classes that a network with so many channels does not know: they would train it as background, or as NaN.

    On the CPU alone: a GPU would be waited for, and `fit` looks at its batches before they go there.
    """
    if label.device.type == "cpu" and label.numel() and not torch.compiler.is_compiling():
        low, high = (int(end) for end in torch.aminmax(label))
        if wrong := unknown_classes(low, high, n_classes(channels)):
            raise ValueError(wrong)


def n_classes(channels: int) -> int:
    """The inverse of `n_logits`."""
    return max(channels, 2)


def unknown_classes(low: int, high: int, classes: int) -> str | None:
    """What is wrong with a label that goes from `low` to `high`, where anything is."""
    known = f"the system was built with classes={classes} (0 to {classes - 1})"
    if low < 0:
        return f"a label holds {low}, but {known}. Renumber the labels from 0 on, which is background: label.clip(0)."
    if high >= classes:
        if high == 255:  # how pictures write a mask, or a rim that nobody is to be judged by
            return f"a label holds class 255, but {known}. Of a mask of 0 and 255 pass label > 0; else merge classes."
        remedy = f"Build it with classes={high + 1}, or merge classes in the labels."
        return f"a label holds class {high}, but {known}. {remedy}"
    return None


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


REDUCTIONS = ("nearest", "area", "max", "corner", "official_code")


def downsample_target(label: Label, size: tuple[int, ...], *, channels: int, how: str = "nearest") -> CoarseMask:
    """The label as a target of `size`: (B, channels, *size) in [0, 1].

    nearest        the voxel nearest the middle of each cell: a small tumour may vanish, no new label appears;
    area           the share of each class in the cell: a voxel that is 3/4 tumour has target 0.75;
    max            every class that the cell holds, so several may be 1: nothing small is lost (MLDS-Net);
    corner         each cell's first voxel, as PyTorch's mode="nearest" takes it: upsampled again, the target lies
                   half a cell further on, 4 voxels at stride 8 and 8 at stride 16;
    official_code  MSS-UNet's release: the label *map* interpolated linearly and rounded, which between 0 and 2
                   invents a rim of 1. Kept to be looked at.
    """
    if how not in REDUCTIONS:
        raise ValueError(f"how={how!r} is no way to reduce a label. Choose one of {list(REDUCTIONS)}.")
    require_known(label, channels)  # all of it: a smaller map may miss what is wrong
    if mode := {"nearest": "nearest-exact", "corner": "nearest"}.get(how):
        return one_hot(functional.interpolate(label[:, None].float(), size, mode=mode)[:, 0].long(), channels)
    if how == "official_code":
        linear = functional.interpolate(
            label[:, None].float(), size, mode=("bilinear", "trilinear")[len(size) - 2], align_corners=True
        )
        return one_hot(linear[:, 0].round().long(), channels)
    full = one_hot(label, channels)
    if how == "area":
        return (functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d)[len(size) - 2](full, size)
    return (functional.adaptive_max_pool2d, functional.adaptive_max_pool3d)[len(size) - 2](full, size)
