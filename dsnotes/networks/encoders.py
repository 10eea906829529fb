"""ResNet-34, ResNet-50 and Res2Net-50 v1b encoders, with the parameter names of their published weights.

Papers: He et al. 2016, https://arxiv.org/abs/1512.03385; Gao et al. 2019, https://arxiv.org/abs/1904.01169
An encoder returns maps at strides 2, 4, 8, 16 and 32 (16 where the last stage is dilated instead of strided).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dsnotes.networks.stage import Stage

STAGES = (3, 4, 6, 3)


def conv_norm(n_in: int, n_out: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    """A padded convolution without bias, and batch norm."""
    conv = nn.Conv2d(n_in, n_out, kernel, stride, dilation * (kernel // 2), dilation=dilation, bias=False)
    return [conv, nn.BatchNorm2d(n_out)]


def shortcut(n_in: int, n_out: int, stride: int) -> nn.Module | None:
    return None if n_in == n_out and stride == 1 else nn.Sequential(*conv_norm(n_in, n_out, 1, stride))


class BasicBlock(Stage):
    """ResNet-34's block: two 3x3 convolutions."""

    expansion = 1

    def __init__(self, n_in: int, planes: int, stride: int, dilation: int, first: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_norm(n_in, planes, 3, stride, dilation)
        self.conv2, self.bn2 = conv_norm(planes, planes)
        self.downsample = shortcut(n_in, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class Bottleneck(Stage):
    """ResNet-50's block: 1x1, 3x3 with the stride, 1x1 to four times the planes."""

    expansion = 4

    def __init__(self, n_in: int, planes: int, stride: int, dilation: int, first: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_norm(n_in, planes, 1)
        self.conv2, self.bn2 = conv_norm(planes, planes, 3, stride, dilation)
        self.conv3, self.bn3 = conv_norm(planes, 4 * planes, 1)
        self.downsample = shortcut(n_in, 4 * planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return (self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x))).relu()


class Bottle2neck(Stage):
    """Res2Net's block: four splits of the channels; three are convolved, each after adding the previous result.

    In a stage's first block the splits are independent. The fourth split is pooled there and unchanged in the other
    blocks, as in the release.
    """

    expansion = 4

    def __init__(self, n_in: int, planes: int, stride: int, dilation: int, first: bool) -> None:
        super().__init__()
        self.width, self.first = planes * 26 // 64, first
        self.conv1, self.bn1 = conv_norm(n_in, 4 * self.width, 1)
        pairs = [conv_norm(self.width, self.width, 3, stride) for _ in range(3)]
        self.convs, self.bns = nn.ModuleList(p[0] for p in pairs), nn.ModuleList(p[1] for p in pairs)
        self.conv3, self.bn3 = conv_norm(4 * self.width, 4 * planes, 1)
        self.pool = nn.AvgPool2d(3, stride, 1) if first else None
        self.downsample = None
        if first:
            pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
            self.downsample = nn.Sequential(pool, *conv_norm(n_in, 4 * planes, 1))

    def forward(self, x: Tensor) -> Tensor:
        splits = self.bn1(self.conv1(x)).relu().split(self.width, dim=1)
        y, found = None, []
        for split, conv, bn in zip(splits, self.convs, self.bns, strict=False):
            y = bn(conv(split if y is None or self.first else y + split)).relu()
            found.append(y)
        found.append(self.pool(splits[3]) if self.first else splits[3])
        y = self.bn3(self.conv3(torch.cat(found, dim=1)))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class Encoder(nn.Module):
    """forward(image) -> ({"stride2": …, …}, finest first, and the deepest map); `dilated` keeps its stride at 16.

    As in torchvision, the first block of a dilated last stage keeps the dilation of the stage before.
    """

    def __init__(
        self,
        block: type[nn.Module],
        *,
        in_channels: int,
        width: int = 64,
        deep_stem: bool = False,
        dilated: bool = False,
    ) -> None:
        super().__init__()
        half = width // 2
        if deep_stem:
            self.conv1 = nn.Sequential(
                *conv_norm(in_channels, half, 3, 2), nn.ReLU(),
                *conv_norm(half, half), nn.ReLU(),
                nn.Conv2d(half, width, 3, padding=1, bias=False),
            )  # fmt: skip
        else:
            self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        n_in, stride = width, 4
        self.channels, self.strides = [width], [2]
        for stage, blocks in enumerate(STAGES):
            planes = width * 2**stage
            last = dilated and stage == 3
            step = 1 if stage == 0 or last else 2
            stride *= step
            layers = []
            for index in range(blocks):
                given = (step, 1) if index == 0 else (1, 2 if last else 1)
                layers.append(block(n_in, planes, *given, index == 0))
                n_in = planes * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
            self.channels.append(n_in)
            self.strides.append(stride)

    def forward(self, image: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        x = self.bn1(self.conv1(image)).relu()
        maps = [x]
        x = self.maxpool(x)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return {f"stride{s}": x for s, x in zip(self.strides[:-1], maps, strict=False)}, maps[-1]


def resnet34(**settings) -> Encoder:
    return Encoder(BasicBlock, **settings)


def resnet50(**settings) -> Encoder:
    return Encoder(Bottleneck, **settings)


def res2net50(**settings) -> Encoder:
    return Encoder(Bottle2neck, deep_stem=True, **settings)


def load_pretrained(encoder: Encoder, path: str | Path) -> None:
    """Load a state dict of torchvision, timm or the authors, without its classifier.

    For one input channel the first kernels are summed over the colours, which gives the same result on a grey image.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # a zip error, an unpickling error, …: torch has no common class for them
        raise ValueError(
            f"cannot read a state dict from pretrained={str(path)!r} ({error}). Pass the .pth file of torchvision or "
            f"timm, saved by torch.save(model.state_dict(), path)."
        ) from error
    found = found.get("state_dict", found) if isinstance(found, dict) else {}
    found = {name.removeprefix("module."): value for name, value in found.items()}
    found = {name: value for name, value in found.items() if not name.startswith("fc.")}
    own = encoder.state_dict()
    first = next(name for name in own if name.startswith("conv1"))
    if first in found and own[first].shape[1] == 1 and found[first].shape[1] == 3:
        found[first] = found[first].sum(1, keepdim=True)
    missing = [name for name in own if name not in found and not name.endswith("num_batches_tracked")]
    other = [name for name in own if name in found and own[name].shape != found[name].shape]
    if missing or other:
        few = "; ".join(
            [f"missing {', '.join(missing[:3])}{', …' * (len(missing) > 3)}"] * bool(missing)
            + [f"{name} is {tuple(found[name].shape)} there, {tuple(own[name].shape)} here" for name in other[:3]]
        )
        raise ValueError(
            f"pretrained={str(path)!r} holds another encoder: {len(missing)} tensors missing, {len(other)} of another "
            f"shape ({few}). Pass weights of this encoder at the paper's width, or leave pretrained out."
        )
    encoder.load_state_dict({name: found.get(name, value) for name, value in own.items()})


def require_slices(dims: int, name: str) -> None:
    if dims != 2:
        raise ValueError(f"dims={dims}, but {name} works on slices. Build it with dims=2.")
