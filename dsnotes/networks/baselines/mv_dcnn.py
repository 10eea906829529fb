"""MV-DCNN: three planes through a voxel, each at two scales and with its own branch.

Paper: Wang et al. 2017, "A multi-view deep convolutional neural networks for lung nodule segmentation", EMBC,
https://doi.org/10.1109/EMBC.2017.8037182
A reconstruction from the abstract (three branches of seven layers, patches of several scales, joined by a fully
connected layer). The branches are CF-CNN's, by the same authors, with ordinary max-pooling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsnotes.networks.baselines.cf_cnn import SIDE, WIDE, Branch, CeilPool, widths
from dsnotes.networks.voxelwise import Patchwise, Where, beside, resized, sections


class MVDCNN(Patchwise):
    """`width` is 36 as in CF-CNN. Resample to isotropic voxels first, or two of the three planes are distorted.

    A voxel takes 103 million multiply-adds, and patches share none of them (see `networks.voxelwise`). A slice of
    64 x 64 takes 3.2 s on the two CPU cores of `benchmarks/results/voxelwise.md`, or 2.6 s at their peak convolution
    rate; bfloat16 (`predict(..., amp=True)`) takes two thirds of the time, every=2 a quarter.
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
        raise ValueError(f"dims={dims}, but {name} needs three planes through a voxel. Build it with dims=3.")
