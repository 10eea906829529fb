"""Training targets made from label maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dsnotes.shapes import CoarseMask, Label, Logits, Probs


def probabilities(logits: Logits) -> Probs:
    """Sigmoid of a single channel, softmax over several."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def one_hot(label: Label, channels: int) -> Probs:
    """(B, *space) class indices as (B, channels, *space) in {0, 1}; a single channel is the foreground."""
    require_known(label, channels)
    if channels == 1:
        return (label == 1).unsqueeze(1).float()
    classes = torch.arange(channels, device=label.device).view(-1, *[1] * (label.ndim - 1))
    return (label.unsqueeze(1) == classes).float()


def require_known(label: Label, channels: int) -> None:
    """Check that a network with `channels` channels knows all classes of the label.

    Only on the CPU: on a GPU the check would wait for the device, and `fit` checks batches before they are moved there.
    """
    if label.device.type == "cpu" and label.numel() and not torch.compiler.is_compiling():
        low, high = (int(end) for end in torch.aminmax(label))
        if wrong := unknown_classes(low, high, n_classes(channels)):
            raise ValueError(wrong)


def n_classes(channels: int) -> int:
    """The inverse of `n_logits`."""
    return max(channels, 2)


def unknown_classes(low: int, high: int, classes: int) -> str | None:
    """The error message for labels from `low` to `high`; None if they fit."""
    known = f"the system was built with classes={classes} (0 to {classes - 1})"
    if low < 0:
        return f"a label holds {low}, but {known}. Number the classes from 0 (background): label.clip(0)."
    if high >= classes:
        if high == 255:  # masks saved as pictures; also a common value for "ignore"
            return f"a label holds class 255, but {known}. For masks of 0 and 255 pass label > 0; else merge classes."
        remedy = f"Build it with classes={high + 1}, or merge classes in the labels."
        return f"a label holds class {high}, but {known}. {remedy}"
    return None


def class_indices(label: Tensor, logits: Tensor) -> Label:
    """The label as (B, *space), without a channel axis; its shape must match the logits."""
    if label.ndim == logits.ndim and label.shape[1] == 1:
        label = label[:, 0]
    if label.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"the label has shape {tuple(label.shape)}, the logits {tuple(logits.shape)}. Pass class indices of shape "
            f"(batch, *space), here {(logits.shape[0], *logits.shape[2:])}: crop or resample both together."
        )
    return label.long()


REDUCTIONS = ("nearest", "area", "max", "corner", "official_code")


def downsample_target(label: Label, size: tuple[int, ...], *, channels: int, how: str = "nearest") -> CoarseMask:
    """The label as a target of `size`: (B, channels, *size) in [0, 1].

    nearest        the voxel nearest to the centre of each cell: a small tumour can vanish, but no new label appears;
    area           the share of each class in the cell: a cell that is 3/4 tumour has target 0.75;
    max            every class present in the cell, so several channels may be 1: nothing small is lost (MLDS-Net);
    corner         the first voxel of each cell, as in PyTorch's mode="nearest": relative to the image the target is
                   shifted by half a cell, 4 voxels at stride 8 and 8 at stride 16;
    official_code  MSS U-Net's release: the label *map* interpolated linearly and rounded, which creates a rim of 1
                   between 0 and 2. For comparison only.
    """
    if how not in REDUCTIONS:
        raise ValueError(f"how={how!r} is unknown. Choose one of {list(REDUCTIONS)}.")
    require_known(label, channels)  # before downsampling, which could drop the wrong values
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
