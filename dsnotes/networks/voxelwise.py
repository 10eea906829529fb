"""Classifiers of one voxel from the patch around it, as networks for whole images.

There are two kinds. If every layer is translation-equivariant, the image passes through once and all voxels share the
work (`Dense`). Otherwise (patches padded with zeros, pooled from their centre, or seen at several scales) the patches
of many voxels are cut out and classified in batches (`Patchwise`). Images are mirrored at their borders.

Patches can share work up to the first layer that depends on the position within the patch, such as a pooling, or that
joins two scales or planes: there no two patches have a value in common.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from dsnotes.networks.base import Backbone, Features, Level
from dsnotes.networks.folding import folded
from dsnotes.shapes import Image, Integer, Logits, n_logits

Where = Integer[Tensor, "voxels axes"]  # (image in the batch, *voxel)
Grid = Integer[Tensor, "rows columns axes"]  # the same for all voxels of a slice
AT_ONCE = 512  # patches per batch on a GPU


class Voxelwise(Backbone):
    """`scores(image, at)` returns named logits (N, K) of the voxels `at`, the deployed ones first, for supervision."""

    def __init__(self, *, in_channels: int, classes: int, dims: int, out_channels: int | None = None) -> None:
        super().__init__()
        self.in_channels, self.classes, self.stride = in_channels, classes, (1,) * dims
        self.outputs = out_channels or n_logits(classes)
        answer = Level(self.outputs, self.stride)
        self.levels = {"bottleneck": answer, "decoder.stride1": answer}

    def scores(self, image: Image, at: Where) -> dict[str, Tensor]:
        raise NotImplementedError


class Dense(Voxelwise):
    """A subclass defines `everywhere(image)`: named logits of all pixels, the deployed ones first."""

    def everywhere(self, image: Image) -> dict[str, Logits]:
        raise NotImplementedError

    def forward(self, image: Image) -> Features:
        logits = next(iter(self.everywhere(image).values()))
        return Features({}, logits, {"stride1": logits}, logits)

    def scores(self, image: Image, at: Where) -> dict[str, Tensor]:
        batch, *voxel = at.unbind(1)
        return {name: logits.movedim(1, -1)[(batch, *voxel)] for name, logits in self.everywhere(image).items()}


class Patchwise(Voxelwise):
    """A subclass defines `classify(volume, at)` -> (N, K); `reach` is the patch's radius along each axis.

    `volume` is (B, C, depth, height, width), mirrored by `reach` on each side, and `at` indexes it; a slice is a volume
    of depth one. `every=2` classifies every other row and column of a slice and interpolates the logits between them:
    a quarter of the work, but it can miss a lesion of a single pixel.
    """

    reach: tuple[int, int, int]
    patches_per_thread = 32  # patches per thread and batch on a CPU: their maps fit in the cache

    def __init__(self, *, every: int = 1, **shape) -> None:
        super().__init__(**shape)
        if every < 1:
            raise ValueError(
                f"every must be 1 or more, got {every}. Pass every=1 for all voxels, 2 for every other one."
            )
        self.every = every

    def classify(self, volume: Tensor, at: Where) -> Tensor:
        raise NotImplementedError

    def scores(self, image: Image, at: Where) -> dict[str, Tensor]:
        if self.dims == 2:
            at = torch.stack([at[:, 0], torch.zeros_like(at[:, 0]), at[:, 1], at[:, 2]], dim=1)
        return {"cross-entropy": self.classify(self.mirrored(image), at + self.shift(at))}

    def forward(self, image: Image) -> Features:
        volume = self.mirrored(image)
        depth, height, width = (n - 2 * r for n, r in zip(volume.shape[2:], self.reach, strict=True))
        axes = (len(image), depth, range(0, height, self.every), range(0, width, self.every))
        axes = [torch.arange(n) if isinstance(n, int) else torch.tensor(n) for n in axes]
        at = torch.cartesian_prod(*axes).to(image.device)
        slices = (at + self.shift(at)).view(len(image) * depth, *map(len, axes[2:]), 4)
        learning = self.training or torch.is_grad_enabled()
        answer = self.each_by_itself if learning else self.to_predict().share
        found = torch.cat([some for one in slices for some in answer(volume, one)])
        logits = found.view(*(len(axis) for axis in axes), self.outputs).movedim(-1, 1)  # (B, K, D, H, W)
        if self.every > 1:
            logits = self.between(logits, height, width)
        logits = logits.reshape(len(image), self.outputs, *image.shape[2:])
        return Features({}, logits, {"stride1": logits}, logits)

    def to_predict(self) -> Patchwise:
        """A copy with folded norms, and weights in channels-last format as the patches have."""
        return folded(self).to(memory_format=torch.channels_last)

    def each_by_itself(self, volume: Tensor, at: Grid) -> Iterator[Tensor]:
        """The logits of a slice's voxels, row by row, in portions."""
        return (self.classify(volume, some) for some in self.portions(at.flatten(0, 1)))

    def share(self, volume: Tensor, at: Grid) -> Iterator[Tensor]:
        """The same for prediction; subclasses override it where patches can share work."""
        return self.each_by_itself(volume, at)

    def portions(self, at: Where) -> Iterator[Where]:
        if at.is_meta:
            return iter([at])
        return iter(at.split(self.patches_per_thread * torch.get_num_threads() if at.device.type == "cpu" else AT_ONCE))

    def shift(self, at: Where) -> Tensor:
        return torch.tensor((0, *self.reach), device=at.device)

    def mirrored(self, image: Image) -> Tensor:
        volume = image.unsqueeze(2) if self.dims == 2 else image
        for axis, reach in enumerate(self.reach, start=2):
            volume = mirror(volume, axis, reach, reach)
        return volume

    def between(self, logits: Tensor, height: int, width: int) -> Tensor:
        """Linear interpolation between the classified voxels; the last row and column are repeated beyond them."""
        depth, *coarse = logits.shape[2:]
        fine = [(n - 1) * self.every + 1 for n in coarse]
        logits = functional.interpolate(logits, (depth, *fine), mode="trilinear", align_corners=True)
        beyond = (0, width - fine[1], 0, height - fine[0], 0, 0)
        return functional.pad(logits, beyond, mode="replicate")


def mirror(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Reflect at the first and last voxel, repeatedly if needed."""
    size = x.shape[axis]
    period = max(2 * (size - 1), 1)
    index = torch.arange(-before, size + after, device=x.device) % period
    return x.index_select(axis, torch.minimum(index, period - index) % size)


def mirrored_slices(image: Tensor, before: int, after: int) -> Tensor:
    """(B, C, H + before + after, W + before + after), reflected."""
    return mirror(mirror(image, 2, before, after), 3, before, after)


def sections(volume: Tensor, at: Where, *, across: int, side: int) -> Tensor:
    """(N, C, side, side): squares around the voxels `at` of a volume, perpendicular to the axis `across` (0, 1, 2)."""
    batch, *voxel = at.unbind(1)
    first, second = (axis for axis in range(3) if axis != across)
    windows = volume.unfold(2 + first, side, 1).unfold(2 + second, side, 1)  # a view: nothing is copied yet
    for axis in (first, second):
        voxel[axis] = voxel[axis] - side // 2
    z, y, x = voxel
    return windows[batch, :, z, y, x]


def resized(patches: Tensor, side: int) -> Tensor:
    """Patches resized to `side` by cubic interpolation."""
    if patches.shape[-1] == side:
        return patches
    return functional.interpolate(patches, (side, side), mode="bicubic")


def beside(*patches: Tensor) -> Tensor:
    """(N, all channels, side, side), channels last in memory, which is faster on a CPU."""
    return torch.cat(patches, dim=1).contiguous(memory_format=torch.channels_last)
