"""PyTorch's own schedulers are the oracle."""

from dataclasses import replace

import pytest
import torch
from torch.optim import lr_scheduler

from dsnotes.training.history import History
from dsnotes.training.settings import Settings, learning_rate, must_stop

EPOCHS = 200
PAPERS = {
    "msds-unet": Settings(lr=1e-3, schedule="step", factor=0.1, step_every=50, epochs=EPOCHS),
    "mu-net": Settings(lr=3e-4, schedule="exponential", factor=0.9, step_every=3, epochs=EPOCHS),
    "dsnet": Settings(lr=2e-4, schedule="poly", power=0.9, epochs=EPOCHS),
    "dsms-unet": Settings(lr=1e-4, schedule="constant", epochs=EPOCHS),
}
ORACLES = {
    "msds-unet": lambda o: lr_scheduler.StepLR(o, 50, 0.1),
    "mu-net": lambda o: lr_scheduler.StepLR(o, 3, 0.9),
    "dsnet": lambda o: lr_scheduler.PolynomialLR(o, EPOCHS, 0.9),
    "dsms-unet": lambda o: lr_scheduler.ConstantLR(o, 1.0),
}


def oracle(make, lr: float, metrics=None) -> list[float]:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make(optimiser)
    rates = []
    for epoch in range(EPOCHS):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step(*([] if metrics is None else [metrics[epoch]]))
    return rates


@pytest.mark.parametrize("paper", PAPERS)
def test_the_rate_of_every_epoch_is_that_of_pytorch(paper):
    settings = PAPERS[paper]
    assert [learning_rate(settings, e) for e in range(EPOCHS)] == pytest.approx(oracle(ORACLES[paper], settings.lr))


def noisy_losses() -> list[float]:
    """Falls, then stalls long enough for several cuts."""
    noise = torch.randn(EPOCHS, generator=torch.Generator().manual_seed(3))
    clean = torch.cat([torch.linspace(0.5, 0.4, 6), torch.full((EPOCHS - 6,), 0.4)])
    return (clean + 0.002 * noise).tolist()


@pytest.mark.parametrize("patience", [5, 30])
def test_plateau_is_pytorchs_on_the_moving_average(patience):
    """MSS U-Net: factor .2, threshold 1e-3 absolute, m = .93 m + .07 loss."""
    settings = Settings(lr=3e-4, schedule="plateau", factor=0.2, patience=patience, threshold=1e-3, epochs=EPOCHS)
    losses = noisy_losses()
    means = [losses[0]]
    for loss in losses[1:]:
        means.append(0.93 * means[-1] + 0.07 * loss)

    def make(optimiser):
        return lr_scheduler.ReduceLROnPlateau(
            optimiser, factor=0.2, patience=patience, threshold=1e-3, threshold_mode="abs", eps=0
        )

    rates = [learning_rate(settings, e, losses[:e]) for e in range(EPOCHS)]
    assert rates == pytest.approx(oracle(make, 3e-4, means))
    assert len(set(rates)) > 2, "the example must cut the rate more than once"


def test_no_schedule_falls_below_min_lr():
    settings = replace(PAPERS["dsnet"], min_lr=1e-6)
    assert learning_rate(settings, EPOCHS) == 1e-6


@pytest.mark.parametrize(
    ("scores", "ends"),
    [([], False), ([0.5], False), ([0.5, 0.4], True), ([0.5, 0.6], False), ([0.5, 0.6, 0.6], False),
     ([0.5, 0.6, 0.6, 0.1], True), ([0.1, 0.2, 0.9, 0.3, 0.3], False), ([0.1, 0.2, 0.9, 0.3, 0.3, 0.3], True)],
)  # fmt: skip
def test_twice_best_ends_when_the_run_is_twice_as_long_as_its_best_epoch(scores, ends):
    history = History({"epoch": e, "loss": 1.0, "val_score": s} for e, s in enumerate(scores, start=1))
    assert must_stop(Settings(stop="twice_best"), history, 1e-3) is ends


def test_moving_average_ends_after_the_patience_and_only_at_a_small_rate():
    settings = Settings(stop="moving_average", stop_patience=50, stop_lr=1e-6)
    history = History({"epoch": e, "loss": 0.5} for e in range(1, 52))
    assert not must_stop(settings, history, 1e-7), "50 epochs without progress are allowed"
    history.append({"epoch": 52, "loss": 0.5})
    assert must_stop(settings, history, 1e-7)
    assert not must_stop(settings, history, 1e-5)
    history.append({"epoch": 53, "loss": 0.5 - 6e-4 / 0.07})
    assert not must_stop(settings, history, 1e-7), "the moving average fell by 6e-4, more than 5e-4"


def test_mss_u_net_as_printed_stops_after_50_epochs_at_any_rate():
    """§III-B: "the training is over whenever no improvements in the loss are identified over 50 epochs"."""
    history = History({"epoch": e, "loss": 0.5} for e in range(1, 53))
    assert must_stop(Settings(stop="moving_average", stop_patience=50), history, 3e-4)


def test_no_rule_ends_a_run_before_it_segments_where_that_is_asked():
    def history(scores, dice):
        return History(
            {"epoch": e, "loss": 0.5, "val_score": s, "val_dice": d}
            for e, (s, d) in enumerate(zip(scores, dice, strict=True), start=1)
        )

    literal, guarded = (Settings(stop="twice_best", stop_dice=least) for least in (0.0, 0.1))
    silent = history([0.25, 0.24], [0.0, 0.01])
    assert must_stop(literal, silent, 1e-3)
    assert not must_stop(guarded, silent, 1e-3)
    later = history([0.5, 0.2, 0.4, 0.3, 0.3], [0.0, 0.05, 0.4, 0.3, 0.3])  # silence had the best score
    assert not must_stop(guarded, later, 1e-3), "the best is epoch 3"
    later.append({"epoch": 6, "loss": 0.5, "val_score": 0.3, "val_dice": 0.3})
    assert must_stop(guarded, later, 1e-3)
    stalled = Settings(stop="moving_average", stop_patience=1, stop_dice=0.1)
    assert not must_stop(stalled, history([0.2] * 5, [0.05] * 5), 1e-3)
    assert must_stop(stalled, history([0.2] * 5, [0.5] * 5), 1e-3)


def test_an_unknown_choice_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"schedule='polly' is unknown. Choose one of 'constant', 'step', .*'poly'"):
        Settings(schedule="polly")
    with pytest.raises(ValueError, match=r"lr must be positive, got 0\."):
        Settings(lr=0)
    with pytest.raises(ValueError, match=r"got 0\. Pass accumulate=1 or more"):
        Settings(accumulate=0)
    with pytest.raises(ValueError, match=r"foreground .*from 0 to 1, got 33"):
        Settings(foreground=33)


def test_a_rule_that_needs_validation_says_so():
    with pytest.raises(KeyError, match="no column 'val_score'"):
        must_stop(Settings(stop="twice_best"), History([{"epoch": 1, "loss": 1.0}]), 1e-3)
