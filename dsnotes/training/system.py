"""A row of a paper's table: a network, what it is trained for, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from dsnotes.networks.base import Network
from dsnotes.shapes import Image, Outputs, Probs
from dsnotes.supervision.base import Objective
from dsnotes.supervision.targets import probabilities
from dsnotes.training.settings import Settings
from dsnotes.training.step import PlainStep, Step


def logits_to_probabilities(outputs: Outputs) -> Probs:
    return probabilities(outputs.logits)


@dataclass(frozen=True)
class System:
    """`deploy` turns outputs into probabilities; `make_step` says how one batch changes the weights.

    Without `deploy` the network labels nothing (a super-resolution network): `fit` then validates by the loss alone.
    """

    name: str
    network: Network
    objective: Objective
    settings: Settings = field(default_factory=Settings)
    deploy: Callable[[Outputs], Probs] | None = logits_to_probabilities
    make_step: Callable[..., Step] = PlainStep

    @property
    def dims(self) -> int:
        return self.network.backbone.dims

    @property
    def classes(self) -> int:
        return self.network.backbone.classes

    @torch.no_grad()
    def probabilities(self, image: Image) -> Probs:
        """Deployment: sigmoid or softmax of the output, or the paper's ensemble."""
        if self.deploy is None:
            raise ValueError(
                f"{self.name!r} labels nothing, so it has no probabilities. Look at what it makes of an image: "
                f"system.network(image).logits."
            )
        self.network.eval()
        return self.deploy(self.network(image)).float()
