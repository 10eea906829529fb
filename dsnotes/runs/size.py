"""Counts a system's parameters and multiply-adds at its paper's size, without allocating them.

The system is built on torch's "meta" device, where tensors have a shape but no data.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.conv import _ConvNd

from dsnotes.papers import build, recipes, systems
from dsnotes.runs.paper_tables import tables
from dsnotes.runs.source import RefusedError

DEFAULT = {2: (256, 256), 3: (64, 64, 64)}  # if the paper's settings have no patch


def size(name: str) -> tuple[int, int, tuple[int, ...]]:
    """Parameters, multiply-adds of one image through the network as trained, and that image's size."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        system = build(name)
    network = system.network.eval()
    stride = network.backbone.stride
    space = tuple(-(-n // s) * s for n, s in zip(system.settings.patch or DEFAULT[system.dims], stride, strict=True))
    image = torch.empty(1, network.backbone.in_channels, *space, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2, space


def layers(network: nn.Module) -> int:
    """Convolutions, transposed ones and linear layers, as FRRN's paper and MSDS-UNet's Table 13 may count them."""
    return sum(isinstance(module, _ConvNd | nn.Linear) for module in network.modules())


def listing(table: str | None = None, *, count: bool = True) -> Iterator[str]:
    """Lines for a terminal, each as soon as it is known."""
    unfilled = tables()[table][1].unfilled if table in tables() else {}
    try:
        names = list(systems(table))
    except ValueError as error:
        if not unfilled:
            raise RefusedError(str(error)) from None
        names = []  # a table of datasets
    wide = max(map(len, [*names, *unfilled]))
    papers = {name: ", ".join(recipes()[name].papers) for name in names}
    broad = max(map(len, ["papers", *papers.values()]))
    sizes = f"{'parameters':>13} {'G mult-adds':>11}  {'of an image of':16}" if count else ""
    yield f"{'system':{wide}} {sizes} {'papers':{broad}} tables"
    for name in names:
        columns = ""
        if count:
            parameters, madds, space = size(name)
            columns = f"{parameters:13,} {madds / 1e9:11,.1f}  {' × '.join(map(str, space)):16}"
        yield f"{name:{wide}} {columns} {papers[name]:{broad}} {', '.join(recipes()[name].tables)}".rstrip()
    for row, why in unfilled.items():
        yield f"{row:{wide}} no system: {why}"
