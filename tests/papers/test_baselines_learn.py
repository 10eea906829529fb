"""The rows that the papers compare with learn: a few steps on two phantoms, and their own loss is lower."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from dsnotes.data import phantoms
from dsnotes.networks.voxelwise import Patchwise, Voxelwise
from dsnotes.papers import baselines_ct, baselines_voxelwise, build
from dsnotes.training.step import PlainStep

NAMES = ["inf-net", *baselines_ct.SYSTEMS, *baselines_voxelwise.SYSTEMS]
SETTINGS = {  # what keeps a network small, or lets one made for larger images take a phantom of 64 pixels
    "covid-ct-mask-net": {"smallest": 40},
    "res-unet-kits": {"dims": 2},
    "boundary-aware": {"dims": 2},
    "vb-net": {"dims": 2, "shrink": 2},
}
WIDTHS = {"inf-net": 8, "mc-cnn": 16, "mcroi-cnn": 12}  # else 4
LR = {"covid-ct-mask-net": 3e-3, "cascaded-cnn": 3e-4}  # else 1e-2


@cache
def nodules(dims: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (2, 1, *space) of mean 0 and deviation 1, and labels (2, *space)."""
    cases = phantoms.nodules(2, seed=3, dims=dims, size=64 if dims == 2 else 32)
    images = np.stack([(case.image - case.image.mean()) / case.image.std() for case in cases])
    return torch.from_numpy(images)[:, None].float(), torch.from_numpy(np.stack([case.label for case in cases])).long()


def some(name: str, backbone: nn.Module) -> dict[str, torch.Tensor]:
    """The middle of the phantoms, as much of them as the network needs."""
    image, label = nodules(backbone.dims)
    wanted = (24 if isinstance(backbone, Voxelwise) else 64,) * backbone.dims
    if isinstance(backbone, Patchwise):
        wanted = (4, 24, 24)
    middle = [slice((n - min(n, w)) // 2, (n + min(n, w)) // 2) for n, w in zip(label.shape[1:], wanted, strict=True)]
    return {"image": image[(..., *middle)], "label": label[(..., *middle)]}


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_lower_the_loss_on_phantoms(name):
    torch.manual_seed(0)
    voxelwise = name in baselines_voxelwise.SYSTEMS
    few = {"each": 6 if name in baselines_voxelwise.VOLUMES else 32} if voxelwise else {}
    system = build(name, width=WIDTHS.get(name, 4), **SETTINGS.get(name, {}), **few)
    for module in system.network.modules():
        if isinstance(module, nn.Dropout2d | nn.Dropout3d):
            module.p = 0.0
    batch = some(name, system.network.backbone)
    assert batch["label"].flatten(1).any(1).all(), "there is something to learn in both"
    step = PlainStep(system, replace(system.settings, optimiser="adam"))
    step.set_lr(LR.get(name, 1e-2))
    losses = [step(batch)["loss"].item() for _ in range(20)]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:2])
