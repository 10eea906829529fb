"""MV-DCNN: the three planes through a voxel, each at two scales, each through a branch of its own.

Paper: Wang et al. 2017, "A multi-view deep convolutional neural networks for lung nodule segmentation", EMBC,
https://doi.org/10.1109/EMBC.2017.8037182
A reconstruction: only its abstract was at hand (three branches of seven layers, patches of several scales, joined by a
fully connected layer). The branches are CF-CNN's, by the same authors, with ordinary max-pooling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsnotes.networks.baselines.cf_cnn import SIDE, WIDE, Branch, CeilPool, widths
from dsnotes.networks.voxelwise import Patchwise, Where, beside, resized, sections


class MVDCNN(Patchwise):
    """`width` is 36, as CF-CNN's. Voxels should be cubes: resample first, or two of the three planes are squashed.

    A voxel takes 103 million multiply-adds, and patches share none of them (`networks.voxelwise` says why). A slice of
    64 x 64 takes 3.2 s on the two processors of `benchmarks/results/voxelwise.md`, 2.6 s if every convolution went at
    their best rate; bfloat16 (`predict(..., amp=True)`) takes two thirds of the time, every=2 a quarter.
    """

    reach = (WIDE // 2, WIDE // 2, WIDE // 2)

    def __init__(
        self, *, in_channels: int = 1, classes: int = 2, dims: int = 3, width: int = 36, every: int = 1
    ) -> None:
        require_volumes(dims, "MV-DCNN")
        super().__init__(in_channels=in_channels, classes=classes, dims=dims, every=every)
        self.views = nn.ModuleList(Branch(2 * in_channels, width, CeilPool) for _ in range(3))
        self.output = nn.Linear(3 * widths(width)[-1], self.outputs)

    def classify(self, volume: Tensor, at: Where) -> Tensor:
        found = []
        for across, branch in enumerate(self.views):
            wide = sections(volume, at, across=across, side=WIDE)
            rim = (WIDE - SIDE) // 2
            near = wide[..., rim : rim + SIDE, rim : rim + SIDE]
            found.append(branch(beside(near, resized(wide, SIDE))))
        return self.output(torch.cat(found, dim=1))


def require_volumes(dims: int, name: str) -> None:
    if dims != 3:
        raise ValueError(f"dims={dims}, but {name} looks at three planes through a voxel. Build it with dims=3.")
