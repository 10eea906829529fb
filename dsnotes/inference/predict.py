"""The probabilities that a system predicts for a case or a file, and label maps from probabilities."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dsnotes.data.case import Case, require_case
from dsnotes.data.conversion import as_array
from dsnotes.inference.mirror import mirror as mirrored
from dsnotes.inference.network_input import filled_up, images_of, window_size
from dsnotes.inference.sliding_window import sizes, sliding_window
from dsnotes.shapes import Float, LabelMap, ProbabilityMap, n_logits
from dsnotes.training import devices
from dsnotes.training.system import System

Probabilities = Float[np.ndarray, "classes *space"] | Float[Tensor, "classes *space"]  # a map, or a network's own


def predict(
    system: System,
    case: Case | str | os.PathLike,
    *,
    patch: Sequence[int] | None = None,
    overlap: float = 0.5,
    mirror: bool | Sequence[int] = False,
    noise: float = 0.0,
    batch: int | str = "auto",
    device: str | torch.device = "auto",
    amp: bool | str = "auto",
) -> ProbabilityMap:
    """(K, *space) probabilities of `case`, which must be preprocessed like the system's training cases.

    For a file, or a folder of DICOM, the system must come from `dsnotes.load`: its run defines the preprocessing and
    the windows, and the probabilities are on the file's own grid.

    A 2-D system predicts a volume slice by slice. Without `patch`, a 2-D system sees the whole image and a 3-D one
    windows of the size it was trained on (the whole volume if its settings have none), rounded up to the network's
    stride. A volume smaller than the window is padded as in training, with the lowest value of each channel.
    `mirror=True` averages over all mirrored views, `mirror=(1, 2)` over those along the given axes; `noise` is the
    standard deviation of Gaussian noise on each view (`inference.mirror`).
    `device="auto"` is a GPU if there is one; the network stays there. `amp=True` computes in bfloat16; "auto" does so
    only on a GPU.
    """
    if isinstance(case, str | os.PathLike) and isinstance(system, System):
        return _of_file(system, case, mirror=mirror, device=device)
    _require_kinds(system, case)
    patch = None if patch is None else sizes(patch, system.dims)
    views = _views(mirror, system.dims)
    images = images_of(system, case)
    patch = window_size(system, images.shape[2:], patch)
    images, inside = filled_up(images, patch)
    device = devices.pick(device)

    system.network.to(device)
    if _fits(images, system.classes, device):  # else the result is collected in main memory, which is slower
        images = torch.from_numpy(np.array(images, np.float32)).to(device)
    window = {"patch": patch, "overlap": overlap, "batch": batch, "device": device}
    try:
        dtype = _precision(amp, device)
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            augmented = len(views) or noise
            predictor = mirrored(system.probabilities, views, noise=noise) if augmented else system.probabilities
            p = sliding_window(predictor, images, **window, progress=True)
    except (RuntimeError, MemoryError) as error:
        if not (isinstance(error, MemoryError) or devices.out_of_memory(error)):
            raise
        raise RuntimeError(_smaller(system, patch, batch)) from error
    p = p[(..., *inside)].transpose(0, 1).cpu().numpy()  # (K, slices, ...) or (K, 1, ...)
    return p.reshape(-1, *case.space)


def to_label(p: Probabilities, *, threshold: float = 0.5) -> LabelMap:
    """The most probable class of every voxel; for a single channel, 1 where it exceeds `threshold`."""
    p = as_array(p, "p", example="the probabilities of one case, dsnotes.predict(system, case)")
    if not p.size or p.ndim < 2:
        raise ValueError(
            f"an array of shape {p.shape} came, but probabilities (classes, *space) of one case are needed. Pass "
            f"dsnotes.predict(system, case)."
        )
    if not np.isfinite(p.sum(dtype=np.float64)):
        raise ValueError(
            f"the probabilities {p.shape} hold NaN or infinite values. "
            f"Look for NaN in the network's weights: [n for n, w in network.named_parameters() if w.isnan().any()]."
        )
    if p.min() < 0 or p.max() > 1:
        raise ValueError(
            f"values from {p.min():.4g} to {p.max():.4g} came, but probabilities are from 0 to 1. For logits pass "
            f"logits.sigmoid() (one channel) or logits.softmax(0), or use dsnotes.predict(system, case)."
        )
    if len(p) == 1:
        return (p[0] > threshold).astype(np.uint8)
    label = np.empty(p.shape[1:], np.uint8)
    for row in range(p.shape[1]):  # row by row, because argmax needs 8 bytes per voxel
        label[row] = p[:, row].argmax(0)
    return label


def _of_file(system: System, path: str | os.PathLike, *, mirror: object, device: str | torch.device) -> ProbabilityMap:
    from dsnotes.data.files import open_case
    from dsnotes.inference.scan import predict_scan

    if system.task is None:
        raise ValueError(
            f"{system.name!r} does not know how its images were prepared, which is needed for a file. Pass a system "
            f"from dsnotes.load(run), or a case preprocessed like the training cases."
        )
    _, p = predict_scan(
        [(system, system.task)], open_case(path), mirror=True if mirror else None, probabilities=True, device=device
    )
    return p


def _require_kinds(system: object, case: object) -> None:
    if not isinstance(system, System):
        build = f"dsnotes.build({system!r})" if isinstance(system, str) else 'dsnotes.build("unet-2d")'
        raise TypeError(
            f"system has type {type(system).__name__}, but a System is needed. "
            f"Pass {build}, after training it with dsnotes.fit."
        )
    require_case(case)


def _views(mirror: object, dims: int) -> Sequence[int]:
    """The spatial axes to mirror, numbered from 0."""
    if isinstance(mirror, bool | np.bool_):
        return range(dims) if mirror else ()
    if isinstance(mirror, str) or not hasattr(mirror, "__len__"):
        raise TypeError(
            f"mirror={mirror!r} must be True, False or a tuple of axes. Pass mirror=True for all "
            f"axes, mirror=({dims - 1},) for the last one only."
        )
    return mirror


def _precision(amp: bool | str, device: torch.device) -> torch.dtype | None:
    if amp not in (True, False, "auto"):
        raise ValueError(f"amp={amp!r} is unknown. Pass 'auto', True (bfloat16) or False (float32).")
    if amp == "auto":
        amp = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if amp else None


def _fits(images: np.ndarray, classes: int, device: torch.device) -> bool:
    """Whether image and result need less than half of the GPU's free memory."""
    if device.type != "cuda":
        return False
    voxels = images.size + images.size // images.shape[1] * n_logits(classes)
    return 4 * voxels < torch.cuda.mem_get_info(device)[0] / 2


def _smaller(system: System, patch: tuple[int, ...], batch: int | str) -> str:
    stride = system.network.backbone.stride
    half = tuple(max(n // 2 // s, 1) * s for n, s in zip(patch, stride, strict=True))
    return (
        f"not enough memory for batch={batch!r} of windows {patch}. Predict with batch=1, with a smaller window "
        f"such as patch={half}, or, on a GPU, with device='cpu'."
    )
