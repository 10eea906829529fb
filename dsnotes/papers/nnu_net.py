"""Baselines: nnU-Net and its residual-encoder form, with nnU-Net's own recipe, under any supervision.

Isensee et al. 2021, "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation",
https://doi.org/10.1038/s41592-020-01008-z; Isensee et al. 2024, https://arxiv.org/abs/2404.09556
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from dsnotes.losses import cross_entropy, soft_dice
from dsnotes.networks.base import Backbone
from dsnotes.networks.baselines.nnu_net import NNUNet
from dsnotes.networks.blocks import norm_of
from dsnotes.networks.plan import plan
from dsnotes.papers.recipe import Recipe
from dsnotes.safety.nearest import nearest
from dsnotes.shapes import Logits, Scalar, SoftMask
from dsnotes.supervision import MultiScale, Plain, Restoration, Supervision, TwoPathway, halving, supervise
from dsnotes.supervision.multi_scale import ExponentialLogAndEntropy
from dsnotes.supervision.plain import foreground
from dsnotes.supervision.pseudo_labels import VARIANTS
from dsnotes.supervision.soft_adversarial import SoftAdversarial
from dsnotes.supervision.targets import probabilities
from dsnotes.supervision.two_pathway import average
from dsnotes.training.adversarial_step import AdversarialStep
from dsnotes.training.gradnorm_step import GradNormStep
from dsnotes.training.settings import Settings
from dsnotes.training.step import PlainStep
from dsnotes.training.system import System

# nnU-Net's trainer: 1000 epochs of 250 steps, a third of the patches with foreground, gradients clipped at 12.
SETTINGS = Settings(
    batch=2,
    epochs=1000,
    iterations=250,
    optimiser="sgd",
    lr=1e-2,
    momentum=0.99,
    nesterov=True,
    weight_decay=3e-5,
    schedule="poly",
    foreground=1 / 3,
    augment="nnu-net",
)
PATCH = {2: (512, 512), 3: (128, 128, 128)}  # without a patch; nnU-Net plans it from the images


@dataclass(frozen=True)
class EntropyAndDice:
    """nnU-Net's loss: CE + (1 - D), D with the plain sums in its denominator."""

    over_batch: bool

    def __call__(self, logits: Logits, t: SoftMask) -> Scalar:
        p, of = foreground(probabilities(logits)), foreground(t)
        return cross_entropy(logits, t) + soft_dice(p, of, squared=False, over_batch=self.over_batch)


def _scales(backbone: Backbone, weights: tuple[float, ...], loss: Callable) -> Supervision:
    """The finest levels, as many as there are weights, which are scaled to sum to 1."""
    names = tuple(backbone.sides())[: len(weights)]
    kept = weights[: len(names)]
    return MultiScale(weights=tuple(w / sum(kept) for w in kept), levels=names, loss=loss)


def _exponential_log(classes: int) -> ExponentialLogAndEntropy:
    """MSS U-Net's loss with equal weights for the foreground classes; the published ones are kidney's and tumour's."""
    count = max(classes - 1, 1)
    return ExponentialLogAndEntropy(dice_weights=(1 / count,) * count, entropy_weights=None)


CONTROLS = {  # the loss of a paper's supervision on the output alone
    "ce": Plain(dice=0.0),
    "dice": TwoPathway(objective="none", sides="4"),
    "bce/2+dice": Plain(cross_entropy=0.5, squared=False, over_batch=False),
}
MSS = (0.4, 0.2, 0.2, 0.1, 0.1)
PATHWAYS = {"two-pathway-hard": "hard", "two-pathway-soft": "soft", "two-pathway": "all", "two-pathway-gm": "all"}


def objective(name: str, backbone: Backbone) -> Supervision:
    """The supervision called `name` in `SUPERVISIONS`, for this backbone."""
    loss, classes = EntropyAndDice(over_batch=backbone.dims == 2), backbone.classes
    own = Plain(squared=False, over_batch=backbone.dims == 2)
    if name == "none":
        return own
    if name in CONTROLS:
        return CONTROLS[name]
    if name == "halving":  # nnU-Net gives the coarsest level no weight
        return _scales(backbone, halving(max(len(backbone.sides()) - 1, 1)), loss)
    if name == "mss":
        return _scales(backbone, MSS, loss)
    if name == "exp-log":
        return _scales(backbone, (1.0,), _exponential_log(classes))
    if name == "mss+exp-log":
        return _scales(backbone, MSS, _exponential_log(classes))
    if name in PATHWAYS:
        sides = "1234"[-min(4, len(backbone.sides())) :]  # 4 is the output
        return TwoPathway(objective=PATHWAYS[name], sides=sides)
    if name == "restoration":
        return Restoration(norm=norm_of(backbone))
    if name == "restoration+dice":  # the paper's 10 to 1, scaled to the control's loss
        return Restoration(segmentation=1.0, restoration=0.1, norm=norm_of(backbone), segmentation_loss=own)
    if name in ("mask", "soft", "soft+critic"):
        return SoftAdversarial(adversarial=float(name == "soft+critic"), binary=name == "mask")
    return VARIANTS[name.removeprefix("mu-")](features=0.9, restored_features=0.6)  # a tenth of the published weights


SUPERVISIONS = {
    "none": "nnU-Net's loss on the output alone",
    "ce": "cross-entropy on the output alone, the control of restoration",
    "dice": "MSDS-UNet's Dice on the output alone, the control of its pathways",
    "bce/2+dice": "µ-Net's loss on the output alone, the control of its pseudo-labels",
    "halving": "nnU-Net's weights 1, 1/2, 1/4, …",
    "mss": "MSS U-Net's weights .4 .2 .2 .1 .1",
    "exp-log": "MSS U-Net's loss on the output alone: exponential-logarithmic, its Dice with squares",
    "mss+exp-log": "MSS U-Net's weights and loss",
    "two-pathway-hard": "MSDS-UNet's hard fusion",
    "two-pathway-soft": "its soft fusion",
    "two-pathway": "hard, soft and side",
    "two-pathway-gm": "the same with GradNorm",
    "restoration": "DSMS U-Net's second decoder",
    "restoration+dice": "restoration added to nnU-Net's loss; compare with none",
    **{
        f"mu-{name}": f"µ-Net's pseudo-labels, variant {name}, features weighted a tenth of the paper's"
        for name in VARIANTS
        if name != "vae"
    },
    "mask": "DSNet's Dice and L1, both to the mask: the control of soft masks",
    "soft": "DSNet's Dice and L1 to a soft mask",
    "soft+critic": "the same with its critic (2-D)",
}


def nnu_net(
    name: str,
    *,
    in_channels: int,
    classes: int,
    width: int,
    dims: int,
    patch: tuple[int, ...] | None = None,
    spacing: tuple[float, ...] | None = None,
    halvings: int = 5,
    supervision: str = "halving",
) -> System:
    """`resenc` has the residual encoder. Patch and spacing determine depth, strides and kernels."""
    if supervision not in SUPERVISIONS:
        near = nearest(supervision, SUPERVISIONS) or list(SUPERVISIONS)
        raise ValueError(f"supervision={supervision!r} is unknown. Choose {' or '.join(map(repr, near))}.")
    patch = tuple(patch or PATCH[dims])
    shape = plan(patch, tuple(spacing or (1.0,) * dims), halvings=halvings)
    residual = name == "resenc"
    backbone = NNUNet(plan=shape, in_channels=in_channels, classes=classes, width=width, residual=residual)
    goal = objective(supervision, backbone)
    step = {"two-pathway-gm": GradNormStep, "soft+critic": AdversarialStep}.get(supervision, PlainStep)
    more = {"deploy": partial(average, parts=goal.parts)} if isinstance(goal, TwoPathway) else {}
    settings = replace(SETTINGS, patch=patch)
    return System(name, supervise(backbone, goal), goal, settings=settings, make_step=step, **more)


OPTIONS = {
    "patch": "voxels per axis; strides are derived from it",
    "spacing": "mm per axis; strides and kernels are derived from it",
    "halvings": "most halvings per axis",
    "supervision": f"one of {list(SUPERVISIONS)}",
}
BASELINE = Recipe(nnu_net, width=32, dims=3, options=OPTIONS, papers=("nnu_net",))
SYSTEMS = {"nnu-net": BASELINE, "resenc": BASELINE}
