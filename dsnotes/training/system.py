"""A system, such as a row of a paper's table: a network, its supervision, and its training settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dsnotes.data.preprocess import Preprocess
from dsnotes.data.task import Task
from dsnotes.networks.base import Features, Network
from dsnotes.safety.nearest import suggest
from dsnotes.shapes import Image, Outputs, Probs
from dsnotes.supervision.base import Supervision, supervise
from dsnotes.supervision.targets import probabilities
from dsnotes.training.settings import Settings
from dsnotes.training.step import PlainStep, Step


def logits_to_probabilities(outputs: Outputs) -> Probs:
    return probabilities(outputs.logits)


@dataclass(frozen=True)
class System:
    """`deploy` turns outputs into probabilities; `make_step` makes the training step.

    `deploy=None` is for a network that does not segment, such as a super-resolution network: `fit` then validates by
    the loss alone.
    """

    name: str
    network: Network
    objective: Supervision
    settings: Settings = field(default_factory=Settings)
    deploy: Callable[[Outputs], Probs] | None = logits_to_probabilities
    make_step: Callable[..., Step] = PlainStep
    arguments: Mapping[str, Any] | None = None  # arguments of `dsnotes.build`; None if it was made from parts
    task: Task | None = None  # preprocessing and label names, if known

    @property
    def dims(self) -> int:
        return self.network.backbone.dims

    @property
    def classes(self) -> int:
        return self.network.backbone.classes

    @property
    def labels(self) -> dict[int, str] | None:
        """The names of the label values, if known."""
        return None if self.task is None else self.task.labels

    @property
    def preprocessing(self) -> tuple[Preprocess, ...]:
        """The preprocessing of the training images, in order; `system.task.prepare` applies it to a new image."""
        return () if self.task is None else self.task.preprocessing

    def save(self, path: str | Path) -> Path:
        """Save only the weights, for torch.load(path, weights_only=True) and `network.load_state_dict`."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(self.network.state_dict(), path)
        return path

    @torch.no_grad()
    def probabilities(self, image: Image) -> Probs:
        """Deployment: sigmoid or softmax of the output, or the paper's ensemble."""
        if self.deploy is None:
            raise ValueError(
                f"{self.name!r} does not segment, so it has no probabilities. Use its output instead: "
                f"system.network(image).logits."
            )
        self.network.eval()
        return self.deploy(self.network(image).in_float32()).float()


def system(
    name: str, backbone: nn.Module, objective: Supervision, *, task: Task | None = None, **settings: Any
) -> System:
    """Your own system: a backbone with the heads that `objective` needs, and its training settings.

    `backbone` is one of `dsnotes.networks`, your own subclass of `Backbone`, or a network wrapped by `dsnotes.wrap`.
    `settings` are the fields of `Settings`, such as lr=1e-3, patch=(64, 64), epochs=50.
    """
    known = {each.name for each in fields(Settings)}
    for unknown in settings.keys() - known:
        raise TypeError(f"Settings has no {unknown!r}; {suggest(unknown, sorted(known))}.")
    checked = Settings(**settings)
    if isinstance(backbone, System):
        raise TypeError("a System came, but a backbone is needed. Pass system.network.backbone.")
    made = System(name, supervise(backbone, objective), objective, settings=checked, task=task)
    _try_forward_pass(made)
    return made


def _try_forward_pass(system: System) -> None:
    """Test one forward pass in training mode on black images, with a copy and without changing the random state."""
    backbone = system.network.backbone
    small = tuple(max(2 * s, 16 // s * s) for s in backbone.stride)
    network = deepcopy(system.network).train()
    weight = next(network.parameters(), torch.zeros(()))
    for size in (small, system.settings.patch):
        image = weight.new_zeros(2, backbone.in_channels, *(size or small))
        try:
            with torch.random.fork_rng([weight.device] if weight.is_cuda else []), torch.no_grad():
                features = network.backbone(image)
                check_features(backbone, features)
                network(image)
            return
        except (RuntimeError, IndexError) as error:  # layers raise these for a size that does not fit
            if size != system.settings.patch:
                continue
            raise ValueError(
                f"{system.name!r} fails on patches of {tuple(image.shape[2:])}: {error}. Pass a size that its "
                f"network takes, for instance patch={tuple(8 * s for s in backbone.stride)}."
            ) from error


def check_features(backbone: nn.Module, features: object) -> None:
    """Check that a backbone's `forward` returns Features with all of its `levels`."""
    if not isinstance(features, Features):
        raise TypeError(
            f"{type(backbone).__name__} returns a {type(features).__name__}, but a backbone must return Features "
            f"(encoder, bottleneck, decoder, logits). Return these, or make it a plain torch network and pass "
            f"dsnotes.wrap(network, classes={backbone.classes})."
        )
    if missing := [level for level in backbone.levels if not _has_level(features, level)]:
        raise ValueError(
            f"{type(backbone).__name__}.levels names {missing}, but its Features hold only decoder "
            f"{list(features.decoder)} and encoder {list(features.encoder)}. Use the same names in both."
        )


def _has_level(features: Features, level: str) -> bool:
    try:
        return features[level] is not None
    except KeyError:
        return False
