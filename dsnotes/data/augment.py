"""Random changes of geometry and of grey values; `draw` the parameters, then `apply` them.

The class's defaults are those used to train MSS U-Net (Zhao et al. 2020, https://doi.org/10.1016/j.imu.2020.100357);
`augmentations` holds these, ours and nnU-Net's by name.
Departs from it: images are interpolated linearly, which costs less than cubically; and outside the patch the
border voxels are repeated, in image and label alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from dsnotes.data import grey_values
from dsnotes.data.grey_values import GreyValues
from dsnotes.data.warp import grid_sample
from dsnotes.shapes import Image, Label, SoftMask

Range = tuple[float, float]
PLANES = {2: ((0, 1),), 3: ((1, 2), (0, 2), (0, 1))}  # the plane that turns about axis 0, 1, 2; in 2-D the only one
VOXELS_A_THREAD = 2**18  # fits in the CPU cache: memory traffic costs more than the arithmetic


@dataclass(frozen=True)
class Augmentation:
    """Range and probability of each transform; `replace(Augmentation(), p_gamma=0)` makes a variant.

    `scale` multiplies the sampling coordinates, so 1.25 shows a larger region at a smaller size. `alpha` and `sigma`
    are those of Simard's elastic deformation in a volume: uniform noise in ±1, smoothed by a Gaussian of `sigma`
    voxels, times `alpha`. The displacements have a standard deviation of alpha / √3 · (2 √π sigma)^(-3/2) voxels.
    `gamma` keeps each channel's mean and standard deviation.
    """

    rotation: tuple[float, float, float] = (15, 15, 15)  # ± degrees about each axis; 2-D uses the first
    p_rotation: float = 0.2
    scale: Range = (0.85, 1.25)
    p_scale: float = 0.2
    alpha: Range = (0, 900)
    sigma: Range = (9, 13)  # voxels
    p_elastic: float = 0.2
    gamma: Range = (0.7, 1.5)
    p_gamma: float = 0.3
    mirror: tuple[int, ...] | None = None  # spatial axes, counted without batch and channel; None: all
    p_mirror: float = 0.5  # per axis
    noise: Range = (0, 0.3)  # standard deviation, in units of the image: 1 after a z-score
    p_noise: float = 0.0
    blur: Range = (0.5, 1)  # standard deviation in voxels of the finest axis
    p_blur: float = 0.0
    brightness: Range = (0.75, 1.25)  # factor of all values
    p_brightness: float = 0.0
    shift: Range = (-0.3, 0.3)  # added to all values, in units of the image
    p_shift: float = 0.0
    contrast: Range = (0.75, 1.25)  # factor of the distance from the mean; the range of values stays
    p_contrast: float = 0.0
    low_resolution: Range = (0.5, 1)  # share of the voxels an axis keeps
    p_low_resolution: float = 0.0
    p_inverted_gamma: float = 0.0  # gamma of the negative image

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self) if each.name.startswith("p_")):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is not a probability. Pass a number from 0 to 1.")
        for name in ("scale", "alpha", "sigma", "gamma", "noise", "blur", "brightness", "contrast", "low_resolution"):
            low, high = getattr(self, name)
            from_zero = name in ("alpha", "noise")
            if not (0 <= low <= high < math.inf and (low > 0 or from_zero)):
                raise ValueError(
                    f"{name}={(low, high)} is not a range: needed is 0 {'<=' if from_zero else '<'} low <= high. "
                    f"To switch it off, leave the range and set its probability to 0."
                )
        if not -math.inf < self.shift[0] <= self.shift[1] < math.inf or self.low_resolution[1] > 1:
            raise ValueError(
                f"shift={self.shift}, low_resolution={self.low_resolution}: pass shift=(low, high) with low <= high, "
                f"such as (-0.3, 0.3), and shares of at most 1, such as low_resolution=(0.5, 1)."
            )


class Drawn(NamedTuple):
    """The parameters of one batch, on the CPU; they determine the augmentation completely."""

    space: tuple[int, ...]
    matrix: Tensor  # (B, n, n): from output to input coordinates, about the patch's centre
    amplitude: Tensor  # (B, n): standard deviation of the displacement, in voxels; 0 without elastic deformation
    sigma: Tensor  # (B, n): smoothness of the displacement, in voxels
    noise: Tensor  # (B, *lattice, n): standard normal, at lattice points `step` voxels apart
    step: tuple[float, ...]
    mirror: Tensor  # (B, n) bool
    gamma: Tensor  # (B,): 1 leaves the grey values unchanged
    grey: GreyValues
    finest: tuple[float, ...]  # length of the finest axis's voxel, in voxels of each axis

    @property
    def resampled(self) -> Tensor:
        """Which samples need interpolation; mirroring alone does not."""
        turned = (self.matrix != torch.eye(len(self.space), dtype=self.matrix.dtype)).flatten(1).any(1)
        return turned | (self.amplitude > 0).any(1)


def draw(
    augmentation: Augmentation,
    *,
    batch: int,
    space: Sequence[int],
    generator: torch.Generator,
    spacing: Sequence[float] | None = None,
) -> Drawn:
    """Draw the parameters for `batch` patches of size `space`.

    With `spacing` (mm) rotations are rigid and deformations isotropic in millimetres, with the finest voxel as unit of
    length; without it, voxels are treated as cubes. Every number is drawn whether used or not, so that changing one
    probability leaves the other parameters unchanged.
    """
    dims, spacing = _checked(space, spacing, augmentation.mirror, generator)

    def uniform(low: float | Tensor, high: float | Tensor, *more: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, *more, generator=generator, dtype=torch.float64)

    def happens(p: float, *more: int) -> Tensor:
        return uniform(0, 1, *more) < p

    def about_one(low: float, high: float) -> Tensor:
        """Below 1 as often as above, although the range extends further above."""
        below, above = uniform(low, min(high, 1)), uniform(max(low, 1), high)
        return torch.where(happens(0.5 if low < 1 < high else float(high <= 1)), below, above)

    reach = torch.tensor(augmentation.rotation[: len(PLANES[dims])], dtype=torch.float64).deg2rad()
    angles = uniform(-reach, reach, len(reach)) * happens(augmentation.p_rotation)[:, None]
    scale = torch.where(happens(augmentation.p_scale), about_one(*augmentation.scale), 1.0)
    sigma = uniform(*augmentation.sigma)
    size = uniform(*augmentation.alpha) / math.sqrt(3) * (2 * math.sqrt(math.pi) * sigma) ** -1.5
    size = size * happens(augmentation.p_elastic)
    gamma = torch.where(happens(augmentation.p_gamma), about_one(*augmentation.gamma), 1.0)
    mirrored = torch.zeros(dims, dtype=torch.bool)
    mirrored[list(range(dims) if augmentation.mirror is None else augmentation.mirror)] = True
    mirror = happens(augmentation.p_mirror, dims) & mirrored

    finest = spacing.min() / spacing  # one voxel of the finest axis, in voxels of each axis
    step = tuple(max(augmentation.sigma[0] * f, 1.0) for f in finest.tolist())
    lattice = [math.ceil((n - 1) / s) + 5 for n, s in zip(space, step, strict=True)]  # two points beyond each border
    return Drawn(
        space=tuple(space),
        matrix=_rotation(angles, dims) * scale[:, None, None] * (spacing[None, :] / spacing[:, None]),
        amplitude=size[:, None] * finest,
        sigma=sigma[:, None] * finest,
        noise=torch.randn(batch, *lattice, dims, generator=generator, dtype=torch.float64),
        step=step,
        mirror=mirror,
        gamma=gamma,
        grey=grey_values.draw(augmentation, batch=batch, generator=generator, about_one=about_one),
        finest=tuple(finest.tolist()),
    )


def apply(
    drawn: Drawn, image: Image, label: Label | None = None, soft: SoftMask | None = None
) -> tuple[Image, Label | None, SoftMask | None]:
    """Apply drawn parameters on the tensors' device; a sample without any transform is returned bit for bit.

    Image, label and soft mask share one interpolation, which includes mirroring.
    """
    _check(drawn, image, label, soft)
    grey = drawn.grey.changed()
    changed = drawn.resampled | drawn.mirror.any(1) | (drawn.gamma != 1) | grey
    if not changed.any():
        return image, label, soft
    samples = []
    for b, resampled in enumerate(drawn.resampled.tolist()):
        parts = [None if x is None else x[b] for x in (image, label, soft)]
        axes = [a - len(drawn.space) for a in drawn.mirror[b].nonzero().flatten().tolist()]
        if resampled:
            parts = grid_sample(_slabs(drawn, b, image), *parts)
        elif axes:
            parts = [None if x is None else x.flip(axes) for x in parts]
        if grey[b]:
            parts[0] = grey_values.apply(drawn.grey, b, parts[0], finest=drawn.finest)
        if drawn.gamma[b] != 1:
            parts[0] = grey_values.gamma(parts[0], drawn.gamma[b].item())
        samples.append(parts)
    image, label, soft = (_batched(part) for part in zip(*samples, strict=True))
    return image, label, soft


def _batched(samples: Sequence[Tensor | None]) -> Tensor | None:
    if samples[0] is None:
        return None
    return samples[0][None] if len(samples) == 1 else torch.stack(list(samples))  # a batch of one needs no copy


def _slabs(drawn: Drawn, b: int, image: Tensor) -> Iterator[Tensor]:
    """Sampling coordinates of sample b for `grid_sample`, some slices at a time: (slices, …, n).

    The affine part and the displacement (Gaussians on a lattice) are both sums of products of one-axis functions. So
    one matrix product per axis makes the whole grid, without smoothing or upsampling a field. Rows of unit length
    give the displacement the same variance everywhere, also at the border.
    """
    dims = len(drawn.space)
    elastic = bool((drawn.amplitude[b] > 0).any())
    lattice = drawn.noise.shape[1:-1] if elastic else (0,) * dims
    weights = drawn.noise.new_zeros(*(2 + n for n in lattice), dims)  # per axis: 1, x, then the Gaussians
    for axis in range(dims):
        weights[tuple(int(axis == a) for a in range(dims))] = drawn.matrix[b, :, axis]
    if elastic:
        weights[(slice(2, None),) * dims] = drawn.noise[b] * drawn.amplitude[b]
    weights = (weights * 2 / torch.tensor(drawn.space)).flip(-1)  # grid_sample: -1…1 over the patch, last axis first

    def basis(axis: int) -> Tensor:
        n = drawn.space[axis]
        x = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
        columns = [torch.stack([torch.ones_like(x), x], 1)]
        if elastic:
            points = (torch.arange(lattice[axis]) - (lattice[axis] - 1) / 2) * drawn.step[axis]
            bumps = torch.exp(-(((x[:, None] - points) / drawn.sigma[b, axis]) ** 2) / 2)
            columns.append(bumps / bumps.norm(dim=1, keepdim=True))
        rows = torch.cat(columns, 1)
        return (rows.flip(0) if drawn.mirror[b, axis] else rows).to(image.device, exact)

    # float64 on CUDA, where TF32 would shift coordinates by up to 0.05 voxel; float32 elsewhere is exact to 1e-4 voxel.
    exact = torch.float64 if image.device.type == "cuda" or image.dtype == torch.float64 else torch.float32
    field = weights.to(image.device, exact)
    # Leaving any autocast empties its cache of cast weights, which a training step in another thread shares.
    autocast = torch.is_autocast_enabled(image.device.type)
    with torch.autocast(image.device.type, enabled=False) if autocast else nullcontext():
        for axis in range(dims - 1, 0, -1):
            field = basis(axis) @ field.reshape(math.prod(weights.shape[:axis]), weights.shape[axis], -1)
        first, field = basis(0), field.reshape(weights.shape[0], -1)
        depth = drawn.space[0]
        if image.device.type == "cpu":
            at_once = VOXELS_A_THREAD * torch.get_num_threads()
            depth = max(1, at_once // math.prod(drawn.space[1:]))
        for rows in first.split(depth):
            yield (rows @ field).reshape(len(rows), *drawn.space[1:], dims)


def _rotation(angles: Tensor, dims: int) -> Tensor:
    """(B, planes) radians to (B, dims, dims) rotation matrices, one rotation after the other."""
    identity = torch.eye(dims, dtype=angles.dtype).repeat(len(angles), 1, 1)
    rotation = identity
    for angle, (i, j) in zip(angles.unbind(1), PLANES[dims], strict=True):
        turn = identity.clone()
        turn[:, i, i] = turn[:, j, j] = angle.cos()
        turn[:, i, j], turn[:, j, i] = -angle.sin(), angle.sin()
        rotation = rotation @ turn
    return rotation


def _checked(
    space: Sequence[int],
    spacing: Sequence[float] | None,
    mirror: tuple[int, ...] | None,
    generator: torch.Generator,
) -> tuple[int, Tensor]:
    dims = len(space)
    if dims not in PLANES:
        raise ValueError(f"space={tuple(space)} has {dims} axes, needed are 2 or 3: pass space=image.shape[2:].")
    if mirror is not None and not set(mirror) <= set(range(dims)):
        raise ValueError(
            f"mirror={mirror} names an axis that space={tuple(space)} lacks: the axes are {tuple(range(dims))}. "
            f"Pass those to mirror, or mirror=None for all."
        )
    if generator.device.type != "cpu":
        raise ValueError(
            f"the generator is on {generator.device}; parameters are drawn on the CPU, so that a seed means the same "
            f"everywhere. Pass torch.Generator().manual_seed(seed)."
        )
    if spacing is not None and (len(spacing) != dims or not all(0 < s < math.inf for s in spacing)):
        raise ValueError(
            f"spacing={tuple(spacing)} does not fit space={tuple(space)}: needed is one positive number per axis, in "
            f"mm. Pass case.spacing, or leave it out for cubic voxels."
        )
    return dims, torch.tensor([1.0] * dims if spacing is None else list(spacing), dtype=torch.float64)


def _check(drawn: Drawn, image: Tensor, label: Tensor | None, soft: Tensor | None) -> None:
    needed = (len(drawn.gamma), *drawn.space)
    for name, x in (("image", image), ("label", label), ("soft mask", soft)):
        if x is not None and (grid := (x.shape[0], *x.shape[x.ndim - len(drawn.space) :])) != needed:
            raise ValueError(
                f"the {name} has batch and size {grid}, but the parameters were drawn for {needed}. "
                f"Draw again: draw(…, batch={x.shape[0]}, space={tuple(grid[1:])})."
            )
