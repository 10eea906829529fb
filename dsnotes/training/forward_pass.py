"""A network and its supervision as one module: outputs in float32, and the terms of the loss.

Also here: the dtype a network computes in and its memory format, chosen by fixed rules instead of timings
(`benchmarks/precision.py` measures what they rest on), and batch norm statistics re-estimated by forward passes alone.
Small 3-D steps would gain from bfloat16 too; they stay in float32, so that a small run does not depend on whether the
CPU has bfloat16 instructions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dsnotes.networks.base import Network
from dsnotes.networks.stage import activation_checkpointing
from dsnotes.shapes import Image, Outputs
from dsnotes.supervision.base import Batch, Supervision

RESERVED = {"epoch", "loss", "grad_norm", "lr", "samples_per_second", "seconds"}
MODES = ("reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")  # torch.compile's; the first is CUDA graphs


class ForwardPass(nn.Module):
    """forward(batch) -> the outputs, detached and in float32, and named, already weighted scalars.

    The network computes in the dtype `amp`, if given; the terms are computed from its outputs in float32. Only one
    forward per batch is needed, as DistributedDataParallel requires. With `checkpointing` the backbone's blocks keep
    only their inputs. `terms` replaces the supervision's own, for a step that adds to them.
    """

    def __init__(
        self,
        network: Network,
        supervision: Supervision,
        *,
        terms: Callable[[Outputs, Batch], dict[str, Tensor]] | None = None,
        amp: torch.dtype | None = None,
        compile: bool | str = False,  # noqa: A002
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if compile and checkpointing:
            raise ValueError(
                "compile and checkpointing came together, but torch.compile decides itself what to recompute. "
                "Pass one of the two: checkpointing=True to save memory, compile=True to save time."
            )
        if compile not in (True, False, *MODES):
            raise ValueError(
                f"compile={compile!r} is unknown. Pass True, False or one of {', '.join(map(repr, MODES))}."
            )
        self.network, self.supervision, self.amp, self.checkpointing = network, supervision, amp, checkpointing
        self.terms = terms or supervision.terms
        how = {} if compile is True else {"mode": compile}
        self._called = (
            torch.compile(network, **how) if compile else network,
        )  # in a tuple, so that its weights are not registered twice

    def forward(self, batch: Batch) -> tuple[Outputs, dict[str, Tensor]]:
        device = batch["image"].device.type
        with (
            torch.autocast(device, self.amp, enabled=self.amp is not None),
            activation_checkpointing(self.network.backbone, self.checkpointing and self.network.training),
        ):
            outputs = self.supervision.run(self._called[0], batch)
        outputs = outputs.in_float32()
        terms = self.terms(outputs, batch)
        if taken := terms.keys() & RESERVED:
            raise ValueError(
                f"the objective names a term {min(taken)!r}, which is reserved in the history. "
                f"Name it after what it measures, such as 'dice'."
            )
        return outputs.detach(), terms


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
        set_memory_format(network, channels_last=True)


def set_memory_format(network: nn.Module, *, channels_last: bool) -> None:
    """Convert every convolution's weights to channels-last or to PyTorch's default memory format, strides included.

    With one input channel, or a kernel of 1 x 1, both formats store the same numbers in the same order, and PyTorch's
    own conversion leaves the strides. But a convolution chooses its output's format by them, and later layers follow.
    """
    for each in (*network.parameters(), *network.buffers()):
        if each.ndim in MEMORY_FORMAT:
            form = MEMORY_FORMAT[each.ndim] if channels_last else torch.contiguous_format
            strides = torch.empty(each.shape, device="meta", memory_format=form).stride()
            each.data = each.data.contiguous(memory_format=form).as_strided(each.shape, strides)


@torch.no_grad()
def reestimate_statistics(network: nn.Module, images: Iterable[Image]) -> None:
    """Replace each batch norm's mean and variance by their plain average over batches of `images`.

    Paper: Izmailov et al. 2018, https://arxiv.org/abs/1803.05407, section 3.2; torch has it as `swa_utils.update_bn`.
    Departs from torch's: norms that stay in evaluation mode (a frozen teacher's) or that the image never reaches are
    not changed.

    During training the running statistics average over outdated weights; with momentum 0.01 they reach back hundreds
    of steps. `images` are batches as in training, on the network's device.
    """
    was = network.training
    network.train()
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    norms = [norm for norm in norms if norm.track_running_stats]
    before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # in torch: a plain average over all batches
    try:
        for image in images if norms else ():
            network(image)
    finally:
        for norm, buffers, momentum in zip(norms, before, momenta, strict=True):
            if not norm.num_batches_tracked:  # the image did not reach this norm
                for name, value in norm.named_buffers():
                    value.copy_(buffers[name])
            norm.momentum = momentum
        network.train(was)
