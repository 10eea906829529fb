"""The loop: it learns, it is reproducible, and it says what is wrong."""

import math
from dataclasses import replace

import pytest
import torch

from dsnotes.data.augment import Augmentation
from dsnotes.data.case import Case
from dsnotes.networks.base import Network
from dsnotes.supervision.plain import Plain
from dsnotes.training.batches import Draw
from dsnotes.training.fit import fit
from dsnotes.training.settings import Settings
from dsnotes.training.step import PlainStep

QUIET = {"progress": False, "device": "cpu", "amp": False}


def state(system) -> dict:
    return {name: value.clone() for name, value in system.network.state_dict().items()}


def assert_equal(a: dict, b: dict) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_network_learns_discs(tiny, discs):
    system = tiny(epochs=8, batch=4)
    history = fit(system, discs(24), discs(6, seed=1), **QUIET)
    assert history[0]["val_dice"] < 0.7 < 0.9 < history[-1]["val_dice"]
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert history.stopped == "epochs"
    p = system.probabilities(torch.from_numpy(discs(1, seed=2)[0].image)[None, None])
    assert p.shape == (1, 1, 16, 16)


def test_the_record_of_an_epoch(tiny, discs):
    history = fit(tiny(lr=0.01, schedule="step", step_every=1), discs(6), discs(2, seed=1), epochs=2, **QUIET)
    assert list(history[0]) == [
        "epoch", "loss", "cross-entropy", "dice", "grad_norm", "lr", "samples_per_second",
        "val_dice", "val_iou", "val_ppv", "val_sensitivity", "val_score",
        "val_loss", "val_loss_cross-entropy", "val_loss_dice", "seconds",
    ]  # fmt: skip
    for record in history:
        assert record["loss"] == pytest.approx(record["cross-entropy"] + record["dice"], rel=1e-5)
        assert record["val_score"] == pytest.approx(
            sum(record[f"val_{name}"] for name in ("dice", "iou", "ppv", "sensitivity")) / 4
        )
    assert history["lr"] == pytest.approx([0.01, 0.001])
    assert history["epoch"] == [1, 2]


def test_the_loop_does_the_same_as_one_written_by_hand(tiny, discs):
    """Same batches, PyTorch's own loop: the same weights."""
    cases, system, other = discs(6), tiny(), tiny()
    fit(system, cases, epochs=2, iterations=3, seed=5, **QUIET)
    settings = replace(other.settings, patch=(16, 16))
    draw, step = Draw(cases, settings, 2, None, 5, 0, torch.device("cpu")), PlainStep(other, settings)
    for epoch in (1, 2):
        for iteration in range(3):
            step(draw(epoch, iteration)[0])
    assert_equal(state(system), state(other))


@pytest.mark.parametrize("how", [{"workers": 0}, {"workers": 3, "prefetch": 5}])
@pytest.mark.parametrize("augment", [False, Augmentation(p_elastic=1.0)])
def test_the_weights_hang_on_the_seed_not_on_the_threads(tiny, discs, how, augment):
    a, b, c = tiny(), tiny(), tiny()
    fit(a, discs(6), augment=augment, **QUIET)
    fit(b, discs(6), augment=augment, **QUIET, **how)
    fit(c, discs(6), augment=augment, seed=1, **QUIET)
    assert_equal(state(a), state(b))
    assert any((x != y).any() for x, y in zip(state(a).values(), state(c).values(), strict=True))


def test_augmentation_changes_what_is_learned(tiny, discs):
    a, b = tiny(), tiny()
    fit(a, discs(6), **QUIET)
    fit(b, discs(6), augment=True, **QUIET)
    assert any((x != y).any() for x, y in zip(state(a).values(), state(b).values(), strict=True))


def test_the_callers_random_numbers_and_switches_are_left_alone(tiny, discs):
    system = tiny(epochs=1)
    torch.manual_seed(7)
    before = (torch.get_rng_state(), torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark)
    fit(system, discs(4), deterministic=True, **QUIET)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == before[1:]


def test_dropout_hangs_on_the_seed_alone(tiny, discs):
    def dropping():
        system = tiny()
        system.network.backbone.skips[0] = torch.nn.Dropout(0.5)
        return system

    a, b = dropping(), dropping()
    torch.manual_seed(1)
    fit(a, discs(4), **QUIET)
    torch.manual_seed(2)
    fit(b, discs(4), **QUIET)
    assert_equal(state(a), state(b))


def test_keywords_override_settings_which_override_the_systems(tiny, discs):
    system = tiny(epochs=9, lr=1.0)
    history = fit(system, discs(4), settings=replace(system.settings, lr=0.02, epochs=5), epochs=1, **QUIET)
    assert len(history) == 1
    assert history[0]["lr"] == 0.02


def test_an_epoch_is_one_pass_over_the_cases_unless_asked_otherwise(tiny, discs):
    drawn = []

    class Counting(Plain):
        def terms(self, outputs, batch):
            drawn.append(len(batch["image"]))
            return super().terms(outputs, batch)

    fit(tiny(Counting(), batch=2), discs(7), epochs=1, accumulate=2, **QUIET)
    assert drawn == [2] * 4, "ceil(7 / (2 × 2)) steps of two micro-batches"
    drawn.clear()
    fit(tiny(Counting(), batch=3), discs(7), epochs=2, iterations=4, **QUIET)
    assert drawn == [3] * 8


def test_on_epoch_sees_the_history_and_may_end_the_run(tiny, discs):
    lengths = []

    def watch(history):
        lengths.append(len(history))
        return len(history) == 2

    history = fit(tiny(epochs=5), discs(4), on_epoch=watch, **QUIET)
    assert lengths == [1, 2]
    assert history.stopped == "on_epoch"


def test_a_stopping_rule_ends_the_run_and_says_so(tiny, discs):
    class Unteachable(Plain):
        def terms(self, outputs, batch):
            return {"nothing": 0.0 * outputs.logits.sum()}

    history = fit(tiny(Unteachable(), stop="twice_best", lr=1e-9), discs(4), discs(2, seed=1), epochs=9, **QUIET)
    assert len(history) == 2 * history.best_epoch < 9
    assert history.stopped == "stop='twice_best'"


def test_three_classes_have_a_dice_each(tiny, discs):
    history = fit(tiny(classes=3), discs(4, classes=3), discs(2, seed=1, classes=3), epochs=1, **QUIET)
    assert history[0]["val_dice"] == pytest.approx((history[0]["val_dice_1"] + history[0]["val_dice_2"]) / 2)


class Poisoned(Plain):
    """Its Dice is NaN from the fifth call in training on."""

    calls = 0

    def terms(self, outputs, batch):
        terms = super().terms(outputs, batch)
        type(self).calls += torch.is_grad_enabled()
        return terms | {"dice": terms["dice"] * (math.nan if self.calls >= 5 else 1.0)}


def test_a_nan_stops_the_run_and_names_epoch_step_and_term(tiny, discs, tmp_path):
    Poisoned.calls = 0
    system, twin = tiny(Poisoned(), batch=2, epochs=4), tiny(batch=2, epochs=4)
    with pytest.raises(FloatingPointError, match=r"epoch 2, step 2: the term 'dice' became nan .*cross-entropy=0"):
        fit(system, discs(6), out=tmp_path, **QUIET)
    fit(twin, discs(6), epochs=1, **QUIET)
    assert_equal(state(system), state(twin))


def test_ctrl_c_returns_the_history_and_leaves_the_last_finished_epoch(tiny, discs, tmp_path):
    class Interrupted(Plain):
        calls = 0

        def terms(self, outputs, batch):
            type(self).calls += 1
            if self.calls == 9:
                raise KeyboardInterrupt
            return super().terms(outputs, batch)

    system, twin = tiny(Interrupted(), batch=2, epochs=4), tiny(batch=2, epochs=4)
    history = fit(system, discs(6), out=tmp_path, **QUIET)
    assert history.stopped == "interrupted"
    assert len(history) == 2
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2
    fit(twin, discs(6), epochs=2, **QUIET)
    assert_equal(state(system), state(twin))
    assert len(fit(system, discs(6), out=tmp_path, **QUIET)) == 4
    fit(twin := tiny(batch=2, epochs=4), discs(6), **QUIET)
    assert_equal(state(system), state(twin))


def test_too_little_memory_is_answered_with_sizes_to_try(tiny, discs):
    class Hungry(Plain):
        def terms(self, outputs, batch):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError) as caught:
        fit(tiny(Hungry()), discs(4), batch=4, accumulate=2, **QUIET)
    assert str(caught.value) == (
        "cpu has too little memory for patch=(16, 16) × batch=4 × accumulate=2. Try batch=2, accumulate=4 "
        "(as many samples per step); or patch=(8, 16); or checkpointing=True."
    )
    with pytest.raises(torch.OutOfMemoryError, match=r"batch=1, accumulate=3 \(as many samples per step"):
        fit(tiny(Hungry()), discs(4), batch=3, **QUIET)
    with pytest.raises(torch.OutOfMemoryError, match=r"Try patch=\(8, 16\); or checkpointing=True\.$"):
        fit(tiny(Hungry()), discs(4), batch=1, **QUIET)


def test_the_cpus_own_words_for_no_memory_are_understood(tiny, discs):
    class Vast(Plain):
        def terms(self, outputs, batch):
            return {"vast": torch.empty(2**60, dtype=torch.uint8).float().sum()}

    with pytest.raises(torch.OutOfMemoryError, match=r"too little memory for patch=\(16, 16\) × batch=2"):
        fit(tiny(Vast()), discs(4), **QUIET)


def test_other_errors_pass_through(tiny, discs):
    class Wrong(Plain):
        def terms(self, outputs, batch):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="^mine$"):
        fit(tiny(Wrong()), discs(4), **QUIET)


def without_label(case: Case) -> Case:
    return replace(case, label=None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: {"train": []}, r"train is empty. Pass at least one case"),
        (lambda d: {"val": []}, r"val is empty. Pass cases to validate on, or val=None"),
        (lambda d: {"train": [*d, without_label(d[0])]}, r"case 'disc-0-0' of train has no label. Pass labelled cases"),
        (lambda d: {"val": [without_label(d[0])]}, r"of val has no label"),
        (lambda d: {"patch": (16,)}, r"patch \(16,\) has 1 axes, but 'tiny' is 2-D. Pass 2 numbers"),
        (lambda d: {"patch": (15, 16)}, r"patch \(15, 16\) is not divisible by \(2, 2\).*patch=\(14, 16\)"),
        (lambda d: {"patch": (1, 16)}, r"patch \(1, 16\) is not divisible.*patch=\(2, 16\)"),
        (lambda d: {"train": [cut(d[0], 13)]}, r"patch=None .*\(13, 16\) is not divisible"),
        (lambda d: {"train": [two_channels(d[0])]}, r"has 2 channels, .*built for 1. Build it with"),
        (lambda d: {"train": [three_classes(d[0])]}, r"class 2, but the system was built with classes=2 \(0 to 1\)"),
        (lambda d: {"train": [empty(case) for case in d]}, r"none of the 4 labels holds any foreground"),
        (lambda d: {"device": "cuda:99"}, r"device='cuda:99' .* Pass device='auto' or device='cpu"),
        (lambda d: {"device": "gpu"}, r"device='gpu' .*Pass device='auto'"),
        (lambda d: {"amp": "half"}, r"amp='half' is unknown. Pass 'auto'"),
        (lambda d: {"channels_last": "yes"}, r"channels_last='yes' is unknown"),
        (lambda d: {"epochs": 0}, r"got 0\. Pass epochs=1"),
        (lambda d: {"settings": Settings(stop="twice_best")}, r"val=None\. Pass val, .*stop='never'"),
        (lambda d: {"seed": -1}, r"seed=-1 .*at least 0"),
    ],
)  # fmt: skip
def test_wrong_input_is_told_what_to_do(tiny, discs, change, told):
    given = {"train": discs(4), "val": None, **QUIET, **change(discs(4))}
    with pytest.raises(ValueError, match=told):
        fit(tiny(), given.pop("train"), given.pop("val"), **given)


def cut(case: Case, rows: int = 12) -> Case:
    return replace(case, name="cut", image=case.image[:rows], label=case.label[:rows])


def two_channels(case: Case) -> Case:
    return replace(case, image=torch.from_numpy(case.image).expand(2, -1, -1).numpy())


def three_classes(case: Case) -> Case:
    return replace(case, label=case.label * 2)


def empty(case: Case) -> Case:
    return replace(case, label=case.label * 0)


def test_a_3d_case_trains_a_2d_network_slice_by_slice(tiny, discs):
    slices = discs(4)
    volume = Case(
        "stack",
        torch.stack([torch.from_numpy(c.image) for c in slices]).numpy(),
        torch.stack([torch.from_numpy(c.label) for c in slices]).numpy(),
        (5.0, 1.0, 1.0),
    )
    history = fit(tiny(), [volume], [volume], patch=(8, 16), epochs=1, augment=True, **QUIET)
    assert math.isfinite(history[0]["loss"])


def test_progress_is_shown_and_quiet_when_not_wanted(tiny, discs, capfd):
    fit(tiny(epochs=2), discs(4), device="cpu", progress=True)
    shown = capfd.readouterr()
    assert "epoch 2/2" in shown.err
    assert "4/4" in shown.err
    assert "loss=" in shown.err
    assert "float32" in shown.out + shown.err, "what amp='auto' chose is said"
    fit(tiny(epochs=2), discs(4), device="cpu", progress=False)
    assert capfd.readouterr() == ("", "")


def test_without_tqdm_the_epochs_are_plain_lines(tiny, discs, capfd, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tqdm.auto", None)
    fit(tiny(epochs=2), discs(4), device="cpu", progress=True)
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1].startswith("epoch 2: loss ")


def test_compile_goes_through_torch_compile_in_training_and_validation(tiny, discs, monkeypatch):
    compiled = []

    def compile_(network):
        """The network with an eye on it, of its own class, as what torch.compile returns is."""
        watched = Network(network.backbone, dict(network.heads))
        watched.register_forward_pre_hook(lambda *given: compiled.append(torch.is_grad_enabled()))
        return watched

    monkeypatch.setattr(torch, "compile", compile_)
    a, b = tiny(), tiny()
    fit(a, discs(4), discs(2, seed=1), epochs=1, compile=True, **QUIET)
    assert compiled == [True, True, False]
    fit(b, discs(4), discs(2, seed=1), epochs=1, **QUIET)
    assert_equal(state(a), state(b))


def test_channels_last_is_a_matter_of_memory_alone(tiny, discs):
    a, b = tiny(optimiser="sgd"), tiny(optimiser="sgd")
    fit(a, discs(4), epochs=1, **QUIET)
    fit(b, discs(4), epochs=1, channels_last=True, **QUIET)
    assert b.network.backbone.bottleneck[0][0].weight.is_contiguous(memory_format=torch.channels_last)
    assert b.network.backbone.encoder[0][1][0].weight.stride()[1] == 1  # one input channel
    torch.testing.assert_close(state(a), state(b), rtol=1e-4, atol=1e-5)
