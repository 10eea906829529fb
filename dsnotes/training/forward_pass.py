"""A network and its supervision as one module: outputs in float32, and the terms of the loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dsnotes.networks.base import Network
from dsnotes.networks.stage import activation_checkpointing
from dsnotes.shapes import Outputs
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
