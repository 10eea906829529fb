"""Networks in bfloat16 where that is faster, losses always in float32."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dsnotes.networks.base import Network
from dsnotes.supervision.base import Batch, Objective
from dsnotes.training import distributed
from dsnotes.training.activation_checkpointing import recomputed, stages

if TYPE_CHECKING:
    from dsnotes.training.system import System

RESERVED = {"epoch", "loss", "grad_norm", "lr", "samples_per_second", "seconds"}
MODES = ("reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")  # torch.compile's; the first is CUDA graphs
WORTH_MEASURING = 5e9  # floating-point operations of a forward pass; below, a step is mostly overhead
WORTH_TAKING = 1.2  # times faster; a run must not hang on the noise of a stop-watch


class Terms(nn.Module):
    """An objective and its network as one module: forward(batch) -> named, already weighted scalars.

    An objective may call the network, its backbone or a head, once or several times. Whichever it calls computes in
    `amp` and answers in float32; and whoever wraps this module (DistributedDataParallel) sees one forward a batch.
    With `checkpointing` the backbone's blocks keep their input alone and are computed again on the way back.
    """

    def __init__(
        self,
        network: Network,
        objective: Objective,
        *,
        amp: torch.dtype | None = None,
        compile: bool | str = False,  # noqa: A002
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.objective = network, objective
        self._replaced: dict[tuple[nn.Module, str], Callable] = {}
        if compile and checkpointing:
            raise ValueError(
                "compile and checkpointing came together, but a compiled network decides by itself what it computes "
                "again. Pass one of the two: checkpointing=True where memory is short, compile=True where time is."
            )
        if compile not in (True, False, *MODES):
            raise ValueError(
                f"compile={compile!r} is unknown. Pass True, False or one of {', '.join(map(repr, MODES))}."
            )
        device = next(network.parameters()).device.type
        if amp is not None and device == "cpu":
            self._replaced |= {(m, "forward"): safely(m) for m in network.modules() if isinstance(m, nn.Conv3d)}
        if checkpointing:
            inside = partial(replacing, dict(self._replaced))
            self._replaced |= {(block, "forward"): recomputed(block, inside) for block in stages(network.backbone)}
        if compile:
            how = {} if compile is True else {"mode": compile}
            self._replaced[network, "forward"] = torch.compile(network.forward, **how)
        if amp is not None:
            calls = [(module, "forward") for module in (network, network.backbone, *network.heads.values())]
            for module, name in (*calls, (network.backbone, "encode")):
                call = self._replaced.get((module, name), getattr(module, name))
                self._replaced[module, name] = in_precision(call, device, amp)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        with self.replaced():
            terms = self.objective(self.network, batch)
        if taken := terms.keys() & RESERVED:
            raise ValueError(
                f"the objective names a term {min(taken)!r}, which the history keeps for itself. "
                f"Name it after what it measures, such as 'dice'."
            )
        return terms

    def replaced(self) -> AbstractContextManager:
        """Inside, the network computes as it was asked to; outside it is untouched."""
        return replacing(self._replaced)


@contextmanager
def replacing(calls: dict[tuple[nn.Module, str], Callable]) -> Iterator[None]:
    """Inside, these methods of these modules are others."""
    before = {(module, name): module.__dict__.get(name) for module, name in calls}
    for (module, name), call in calls.items():
        setattr(module, name, call)
    try:
        yield
    finally:
        for (module, name), call in before.items():
            delattr(module, name) if call is None else setattr(module, name, call)


def safely(conv: nn.Conv3d) -> Callable:
    """Its forward, in float32 where the volume is shallower than the kernel.

    There the CPU's bfloat16 kernel for the gradient of the weights (torch 2.13 with AVX-512) reads and writes memory
    that is not its own: gradients of 1e35, and now and then the end of the process.
    """
    forward, deep = conv.forward, conv.kernel_size[0]

    def called(x: Tensor) -> Tensor:
        if not 1 < x.shape[2] < deep:
            return forward(x)
        with torch.autocast("cpu", enabled=False):
            return forward(x.float())

    return called


def in_precision(forward: Callable, device: str, dtype: torch.dtype) -> Callable:
    """`forward` under autocast; the outermost such call gives its result back in float32."""

    def lowered(*args, **kwargs):
        nested = torch.is_autocast_enabled(device)
        with torch.autocast(device, dtype):
            result = forward(*args, **kwargs)
        return result if nested else in_float32(result)

    return lowered


def in_float32(value):
    """Every floating-point tensor inside, raised to float32; everything else as it is."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
    if isinstance(value, dict):
        return {name: in_float32(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(in_float32(item) for item in value)
    if is_dataclass(value):
        return replace(value, **{field.name: in_float32(getattr(value, field.name)) for field in fields(value)})
    return value


def choose(
    amp: bool | str, device: torch.device, speedup: Callable[[], float | None]
) -> tuple[torch.dtype | None, str]:
    """The type networks compute in, and the sentence that says why; "auto" measures on a CPU."""
    if amp is True:
        return torch.bfloat16, "networks compute in bfloat16, losses in float32 (amp=True)"
    if amp is False:
        return None, "everything computes in float32 (amp=False)"
    if amp != "auto":
        raise ValueError(f"amp={amp!r} is unknown. Pass 'auto', True (bfloat16) or False (float32).")
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16, "networks compute in bfloat16, losses in float32 (amp='auto' on CUDA)"
    if device.type != "cpu":
        return None, f"everything computes in float32 (amp='auto': {device.type} without bfloat16)"
    ratio = distributed.from_first(speedup())
    if ratio is None:
        return None, "everything computes in float32: bfloat16 is not worth measuring for steps this small"
    name = "bfloat16" if ratio >= WORTH_TAKING else "float32"
    said = f"networks compute in {name}: a bfloat16 step takes {1 / ratio:.2f} of a float32 one on this CPU"
    return (torch.bfloat16 if ratio >= WORTH_TAKING else None), said


def speedup(system: System, batch: Batch) -> float | None:
    """How many times faster a step is in bfloat16; None where there is too little work to tell."""
    exact = Terms(system.network, system.objective)
    if flops(exact, batch) < WORTH_MEASURING:
        return None
    return dry_step_seconds(exact, batch) / dry_step_seconds(
        Terms(system.network, system.objective, amp=torch.bfloat16), batch
    )


def flops(terms: Terms, batch: Batch) -> int:
    """Floating-point operations of one evaluation of all terms: a count, the same on every machine."""
    with FlopCounterMode(display=False) as counter:
        dry(terms, batch, backward=False)
    return counter.get_total_flops()


def dry_step_seconds(terms: Terms, batch: Batch) -> float:
    """The shorter of two forward and backward passes after one to warm up."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        dry(terms, batch, backward=True)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def dry(terms: Terms, batch: Batch, *, backward: bool) -> list[Tensor | None]:
    """The gradients of one evaluation, which leaves no trace in the network nor in the random numbers.

    None stands for a parameter that the terms do not reach.
    """
    network = terms.network
    device = batch["image"].device
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    training = network.training
    network.train()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            loss = sum(terms(batch).values())
            learning = [p for p in network.parameters() if p.requires_grad]
            return list(torch.autograd.grad(loss, learning, allow_unused=True)) if backward else []
    finally:
        network.train(training)
        for name, buffer in network.named_buffers():
            buffer.copy_(before[name])
