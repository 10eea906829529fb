"""Counts pooled over all patches, then the four figures; NumPy's table of both labels is the oracle."""

import numpy as np
import pytest
import torch

from dsnotes import fit
from dsnotes.supervision import loss_terms
from dsnotes.training.batches import for_validation
from dsnotes.training.settings import Settings
from dsnotes.training.step import PlainStep
from dsnotes.training.validate import count, metrics, validate

CPU = torch.device("cpu")


@pytest.mark.parametrize("classes", [2, 4])
def test_the_four_figures_are_those_of_the_confusion_matrix(classes):
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(classes, (3, 9, 9), generator=generator)
    p = torch.rand(3, 1 if classes == 2 else classes, 9, 9, generator=generator)
    predicted = (p[:, 0] > 0.5).long() if classes == 2 else p.argmax(1)
    table = np.histogram2d(label.flatten(), predicted.flatten(), bins=np.arange(classes + 1))[0]
    tp = torch.from_numpy(table.diagonal()[1:].copy()).float()
    fp, fn = (torch.from_numpy(table.sum(axis)[1:]).float() - tp for axis in (0, 1))
    found = metrics(count(p, label))
    torch.testing.assert_close(found["dice"], (2 * tp + 1) / (2 * tp + fp + fn + 1))
    torch.testing.assert_close(found["iou"], (tp + 1) / (tp + fp + fn + 1))
    torch.testing.assert_close(found["ppv"], (tp + 1) / (tp + fp + 1))
    torch.testing.assert_close(found["sensitivity"], (tp + 1) / (tp + fn + 1))


def test_nothing_against_nothing_is_one_and_something_against_nothing_near_zero():
    """µ-Net's epsilon of 1."""
    empty, full = torch.zeros(1, 1, 10, 10), torch.ones(1, 1, 10, 10)
    nothing = torch.zeros(1, 10, 10, dtype=torch.long)
    assert all(value == 1 for value in metrics(count(empty, nothing)).values())
    found = {name: value.item() for name, value in metrics(count(full, nothing)).items()}
    assert found == pytest.approx({"dice": 1 / 101, "iou": 1 / 101, "ppv": 1 / 101, "sensitivity": 1.0})


def test_validation_pools_over_batches_and_weighs_losses_by_samples(tiny, discs):
    system, cases = tiny(), discs(5)
    settings = Settings(patch=(16, 16), batch=2)
    step = PlainStep(system, settings)
    found = validate(step.evaluate, system.deploy, for_validation(cases, settings, seed=0), classes=2, device=CPU)

    system.network.eval()
    images = torch.stack([torch.from_numpy(case.image)[None] for case in cases])
    labels = torch.stack([torch.from_numpy(case.label).long() for case in cases])
    with torch.no_grad():
        p = system.network(images).logits.sigmoid()
        each = [
            loss_terms(system.objective, system.network, {"image": images[part], "label": labels[part]})["dice"]
            for part in (slice(0, 2), slice(2, 4), slice(4, 5))
        ]
    pooled = metrics(count(p, labels))
    assert {name: found[f"val_{name}"] for name in pooled} == pytest.approx(
        {name: value.item() for name, value in pooled.items()}
    )
    assert found["val_loss_dice"] == pytest.approx(((2 * each[0] + 2 * each[1] + each[2]) / 5).item())
    assert found["val_loss"] == pytest.approx(found["val_loss_dice"] + found["val_loss_cross-entropy"])


def test_validation_moves_neither_weights_nor_running_statistics(tiny, discs):
    system = tiny()
    before = {name: value.clone() for name, value in system.network.state_dict().items()}
    batches = for_validation(discs(3), Settings(patch=(16, 16)), seed=0)
    validate(PlainStep(system, system.settings).evaluate, system.deploy, batches, classes=2, device=CPU)
    torch.testing.assert_close(system.network.state_dict(), before, rtol=0, atol=0)


def test_an_empty_prediction_is_explained_by_its_highest_probability(tiny, discs):
    cases = discs(4)
    system = tiny(lr=1e-9)
    with torch.no_grad():
        system.network.backbone.output.weight.mul_(0)
        system.network.backbone.output.bias.fill_(-0.2)  # sigmoid(-0.2) = 0.45 everywhere
    how = {"patch": (16, 16), "batch": 2, "progress": False, "workers": 0}
    with pytest.warns(RuntimeWarning, match=r"after 100 steps .* the highest is 0\.45.*above 0\.27, .* epochs=4"):
        history = fit(system, cases, cases, epochs=2, iterations=50, **how)
    assert [record["val_highest"] for record in history] == pytest.approx([1 / (1 + np.exp(0.2))] * 2)
    assert not fit(system, cases, cases, epochs=1, iterations=99, **how).notes[1:]  # too early to say
    with torch.no_grad():
        system.network.backbone.output.bias.fill_(0.1)
    assert "val_highest" not in fit(system, cases, cases, epochs=1, iterations=1, **how)[0]
