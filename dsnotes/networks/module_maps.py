"""The feature maps inside a network, found by one forward pass: the modules that `dsnotes.wrap` can use as levels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SIZE = 64  # voxels per axis of the trial image


class Candidate(NamedTuple):
    """A module whose output can be a level."""

    path: str
    kind: str
    channels: int
    stride: tuple[int, ...]

    @property
    def depth(self) -> int:
        return self.path.count(".")

    @property
    def coarseness(self) -> int:
        return max(self.stride)


class Candidates(list[Candidate]):
    """The candidates in the order in which the modules run; prints as a table."""

    def __repr__(self) -> str:
        wide = max((len(each.path) for each in self), default=0)
        return "\n".join(f"{c.path:{wide}}  {c.channels:5} channels, stride {c.stride}  {c.kind}" for c in self)

    def by_stride(self) -> str:
        """One line with up to three modules per stride: outer modules before their parts, later ones first."""
        order = {c.path: place for place, c in enumerate(self)}
        by = sorted(self, key=lambda c: (c.coarseness, c.depth, -order[c.path]))
        groups = groupby(by, key=lambda c: c.coarseness)
        return "; ".join(f"stride {s}: {', '.join([repr(c.path) for c in group][:3])}" for s, group in groups)

    def suggested(self) -> dict[str, str]:
        """A first guess at `levels`: the last outermost module of each stride in the decoder, and the bottleneck."""
        if not self:
            return {}
        deepest = max(c.coarseness for c in self)
        bottleneck = max((c for c in self if c.coarseness == deepest), key=lambda c: (-c.depth, self.index(c)))
        way_up = [c for c in self[self.index(bottleneck) + 1 :] if c.coarseness < deepest]
        last: dict[int, Candidate] = {}
        for c in way_up or self:
            if c.depth <= last.get(c.coarseness, c).depth:
                last[c.coarseness] = c
        found = {f"stride{stride}": last[stride].path for stride in sorted(last)}
        return found | {"bottleneck": bottleneck.path} if way_up else found


def candidates(module: nn.Module, image: Tensor | None = None) -> Candidates:
    """Every module whose output could be a level, with its channels and stride, in the order in which they run.

    Where a block returns the output of its last part, only the block is listed.
    """
    return dry_run(module, example_for(module) if image is None else image)[1]


def example_for(module: nn.Module, in_channels: int | None = None, dims: int | None = None) -> Tensor:
    """A black image that fits the network's first convolution."""
    first = next((m for m in module.modules() if isinstance(m, tuple(CONVOLUTIONS.values()))), None)
    if first is not None:
        dims = dims or next(n for n, kind in CONVOLUTIONS.items() if isinstance(first, kind))
        in_channels = in_channels or first.in_channels
    if in_channels is None or dims is None:
        raise ValueError(
            f"{type(module).__name__} has no convolution, so its input is unknown. Pass in_channels= and dims=, "
            f"for instance in_channels=1, dims=2, or an example image=torch.zeros(1, 1, 64, 64)."
        )
    weight = next(module.parameters(), torch.zeros(()))
    return torch.zeros(1, in_channels, *(SIZE,) * dims, dtype=weight.dtype, device=weight.device)


def dry_run(module: nn.Module, image: Tensor) -> tuple[Any, Candidates, dict[str, Candidate]]:
    """The network's output, the candidates, and all usable modules by path (including the last part of each block).

    The network's mode, its statistics and the random state do not change.
    """
    seen: list[tuple[str, nn.Module, object]] = []
    hooks = [
        part.register_forward_hook(lambda part, given, output, path=path: seen.append((path, part, output)))
        for path, part in module.named_modules()
        if path
    ]
    try:
        with _evaluation(module), torch.no_grad(), torch.random.fork_rng():
            answer = module(image)
    except Exception as error:
        raise ValueError(
            f"{type(module).__name__} fails on an image of shape {tuple(image.shape)}: {error}. Pass an example that "
            f"fits, wrap(…, image=torch.zeros(1, channels, *size)), or in_channels= and dims=."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    paths = [path for path, _, _ in seen]
    every, outermost = {}, {}
    for path, part, output in seen:
        stride = _stride(image, output)
        if stride and paths.count(path) == 1:
            every[path] = Candidate(path, type(part).__name__, output.shape[1], stride)
            known = outermost.get(id(output))
            outermost[id(output)] = path if known is None or every[path].depth < every[known].depth else known
    return answer, Candidates(c for path, c in every.items() if path in outermost.values()), every


def _stride(image: Tensor, output: object) -> tuple[int, ...] | None:
    """The stride of a module's output; None for another number of axes, a single voxel or a fractional stride."""
    if not isinstance(output, Tensor) or output.ndim != image.ndim or len(output) != len(image):
        return None
    pairs = list(zip(image.shape[2:], output.shape[2:], strict=True))
    whole = all(small and large % small == 0 for large, small in pairs)
    return tuple(large // small for large, small in pairs) if whole and any(small > 1 for _, small in pairs) else None


@contextmanager
def _evaluation(module: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training
