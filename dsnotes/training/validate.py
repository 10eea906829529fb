"""Validation metrics that are cheap enough for every epoch.

Counts are pooled over all voxels of all patches. For metrics per case and distances in mm, as in the papers' tables,
use `dsnotes.predict` and `dsnotes.score`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from dsnotes.shapes import Integer, Label, Outputs, Probs
from dsnotes.supervision.base import Batch
from dsnotes.supervision.regions import members
from dsnotes.supervision.targets import class_indices
from dsnotes.training import devices
from dsnotes.training.history import History

METRICS = ("dice", "iou", "ppv", "sensitivity")
STEPS_BEFORE_WARNING = 100
Counts = Integer[Tensor, "3 foreground"]  # true positives, predicted, true voxels of each foreground class


@torch.no_grad()
def validate(
    evaluate: Callable[[Batch], tuple[Outputs, dict[str, Tensor]]],
    deploy: Callable[[Outputs], Probs] | None,
    batches: Iterable[Batch],
    *,
    classes: int,
    device: torch.device,
    regions: Sequence[tuple[int, ...]] = (),
) -> dict[str, float]:
    """val_dice, val_iou, val_ppv, val_sensitivity; val_score, the mean of these four; val_loss and its terms.

    If there was foreground to find and no voxel was found, val_highest is the highest probability of a foreground class
    in any voxel (see `empty_prediction`). `evaluate` is the step's. With several foreground classes the metrics are
    means over them, and val_dice_1, val_dice_2, … are added. Without `deploy` there are only the losses, and val_score
    is -val_loss.
    """
    counts = torch.zeros(3, classes - 1, dtype=torch.int64, device=device)
    losses: dict[str, Tensor] = {}
    samples, highest = torch.zeros((), device=device), torch.zeros((), device=device)
    for batch in batches:
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        outputs, found = evaluate(batch)
        size = len(batch["image"])
        for name, term in {"val_loss": sum(found.values()), **{f"val_loss_{n}": t for n, t in found.items()}}.items():
            losses[name] = losses.get(name, 0.0) + size * term.float()
        samples += size
        if deploy is not None:
            label = class_indices(batch["label"], outputs.logits)
            p, valid = deploy(outputs), batch.get("valid")
            counts += count(p, label, valid=valid, regions=regions)
            foreground = p if regions or p.shape[1] == 1 else p[:, 1:]
            seen = foreground if valid is None else foreground * valid[:, None]
            highest = torch.maximum(highest, seen.max().float())
    devices.total(counts)
    devices.highest(highest)
    devices.total(samples)
    names = devices.first_nonempty(list(losses))
    none = torch.zeros((), device=device)
    summed = devices.total(torch.stack([losses.get(name, none) for name in names])) / samples
    measured = dict(zip(names, summed.tolist(), strict=True))
    if deploy is None:
        return {"val_score": -measured["val_loss"], **measured}
    scores = metrics(counts)
    mean = {f"val_{name}": value.mean().item() for name, value in scores.items()}
    each = {f"val_dice_{c}": v for c, v in enumerate(scores["dice"].tolist(), start=1)} if classes > 2 else {}
    return {
        **mean,
        **each,
        "val_score": sum(mean.values()) / len(mean),
        **({"val_highest": highest.item()} if counts[2].any() and not counts[1].any() else {}),
        **measured,
    }


def empty_prediction(history: History) -> str | None:
    """A warning if the last epoch's prediction is empty after 100 steps or more, else None.

    One cause: features after a ReLU are not negative. Where the object switches all of them off, the logit is the last
    layer's bias, so no probability exceeds that of the bias, which settles late.
    """
    highest = history[-1].get("val_highest")
    if highest is None or history.steps < STEPS_BEFORE_WARNING:
        return None
    return (
        f"after {history.steps} steps the prediction is empty in all validation patches, because no foreground "
        f"probability is high enough: the highest is {highest:.2f}. val_dice says nothing about such a network. Look "
        f"at the foreground channels of dsnotes.predict(system, case) above {0.6 * highest:.2g}, and train longer: "
        f"epochs={2 * len(history)}."
    )


def count(p: Probs, label: Label, *, valid: Tensor | None = None, regions: Sequence[tuple[int, ...]] = ()) -> Counts:
    """A single channel is foreground above 0.5; of several, the most probable class counts; each region has a channel.

    Voxels that are not `valid` are left out.
    """
    if regions:
        pairs = [(p[:, k] > 0.5, members(label, values)) for k, values in enumerate(regions)]
    else:
        predicted = (p[:, 0] > 0.5).long() if p.shape[1] == 1 else p.argmax(1)
        pairs = [(predicted == c, label == c) for c in range(1, max(p.shape[1], 2))]
    rows = []
    for positive, true in pairs:
        if valid is not None:
            positive, true = positive & valid, true & valid
        rows.append(torch.stack([(positive & true).sum(), positive.sum(), true.sum()]))
    return torch.stack(rows, dim=1)


def metrics(counts: Counts, *, eps: float = 1.0) -> dict[str, Tensor]:
    r"""µ-Net's four metrics per class, with $TP$, $P$ predicted and $T$ true voxels and $\epsilon = 1$:

    $\frac{2TP + \epsilon}{T + P + \epsilon}$, $\frac{TP + \epsilon}{T + P - TP + \epsilon}$,
    $\frac{TP + \epsilon}{P + \epsilon}$, $\frac{TP + \epsilon}{T + \epsilon}$; all are 1 if both masks are empty.
    """
    tp, p, t = counts.float().unbind()
    values = (
        (2 * tp + eps) / (t + p + eps),
        (tp + eps) / (t + p - tp + eps),
        (tp + eps) / (p + eps),
        (tp + eps) / (t + eps),
    )
    return dict(zip(METRICS, values, strict=True))
