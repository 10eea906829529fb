"""The dtype a network computes in and its memory format, chosen by fixed rules instead of timings.

`benchmarks/precision.py` measures what the rules are based on. Small 3-D steps would gain from bfloat16 too; they stay
in float32, so that a small run does not depend on whether the CPU has bfloat16 instructions.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

LARGE = 5e9  # floating-point operations per forward pass; below this, a step is mostly overhead
MEMORY_FORMAT = {4: torch.channels_last, 5: torch.channels_last_3d}  # by axes, batch and channel among them


def choose_dtype(
    amp: bool | str, network: nn.Module, *, device: torch.device, shape: tuple[int, ...]
) -> tuple[torch.dtype | None, str]:
    """bfloat16, or None for float32, and a sentence that says why. `shape` is the shape of an image batch.

    "auto" is bfloat16 on a GPU that supports it, and on a CPU with bfloat16 instructions if the network is large.
    """
    if amp is True:
        check_conv3d(network, device)
        return torch.bfloat16, "networks compute in bfloat16, losses in float32 (amp=True)"
    if amp is False:
        return None, "everything computes in float32 (amp=False)"
    if amp != "auto":
        raise ValueError(f"amp={amp!r} is unknown. Pass 'auto', True (bfloat16) or False (float32).")
    if has_bfloat16(device) and device.type == "cuda":
        return torch.bfloat16, "networks compute in bfloat16, losses in float32 (amp='auto' on CUDA)"
    if not has_bfloat16(device):
        return None, f"everything computes in float32 (amp='auto': no bfloat16 instructions on this {device.type})"
    if any(type(m) is nn.Conv3d for m in network.modules()):
        return None, "everything computes in float32 (amp='auto': PyTorch's own Conv3d is not safe in bfloat16 here)"
    work = flops(network, shape)
    if work < LARGE:
        return None, "everything computes in float32 (amp='auto': bfloat16 does not pay off for steps this small)"
    return (
        torch.bfloat16,
        f"networks compute in bfloat16, losses in float32 (amp='auto': {work:.1e} operations per pass)",
    )


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies matrices in bfloat16 faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def check_conv3d(network: nn.Module, device: torch.device) -> None:
    """Reject PyTorch's own Conv3d on a CPU, where its bfloat16 gradients are wrong for shallow volumes."""
    if device.type == "cpu" and any(type(m) is nn.Conv3d for m in network.modules()):
        raise ValueError(
            "amp=True, but on a CPU PyTorch's own Conv3d has wrong gradients in bfloat16 if a volume is shallower "
            "than the kernel. Pass amp=False, or build the network with dsnotes.networks.blocks.Conv3d."
        )


def flops(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Floating-point operations of a forward pass, counted on the meta device without computing it."""
    shapes_alone = copy.deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shapes_alone(torch.empty(shape, device="meta"))
    return counter.get_total_flops()


def to_channels_last(network: nn.Module, channels_last: bool | str, *, amp: torch.dtype | None) -> None:
    """Convert the network to channels-last memory format if `channels_last` is True, or "auto" and it uses bfloat16.

    2-D networks gain from it in float32 too, but it would change float32 results in the last bits. A network of volumes
    may have 2-D convolutions, so each weight gets the format of its own axes.
    """
    if channels_last not in (True, False, "auto"):
        raise ValueError(f"channels_last={channels_last!r} is unknown. Pass 'auto', True or False.")
    if channels_last is True or (channels_last == "auto" and amp is not None):
        for each in (*network.parameters(), *network.buffers()):
            each.data = each.data.contiguous(memory_format=MEMORY_FORMAT.get(each.ndim, torch.contiguous_format))
