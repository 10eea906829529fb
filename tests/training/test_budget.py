"""A budget becomes steps, once; a resumed run keeps them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from dsnotes.training import budget
from dsnotes.training.fit import fit
from dsnotes.training.settings import Settings

HOW = {"patch": (8, 8), "batch": 2, "progress": False, "schedule": "poly"}


@pytest.fixture
def measured(monkeypatch):
    """Each step is said to take half a second."""
    calls = []
    monkeypatch.setattr(budget, "seconds_per_step", lambda *_, **__: calls.append(1) or 0.5)
    return calls


@pytest.mark.parametrize(("text", "seconds"), [("600 s", 600), ("10min", 600), ("1.5 h", 5400), (90, 90), ("2", 2)])
def test_a_budget_is_a_time(text, seconds):
    assert budget.parse_seconds(text) == seconds


@pytest.mark.parametrize("wrong", ["soon", "-3 s", "0 s", "", True])
def test_another_text_is_answered_with_examples(wrong):
    with pytest.raises(ValueError, match='budget="600 s"'):
        budget.parse_seconds(wrong)


def test_steps_fill_the_budget_and_the_epochs_share_them():
    assert budget.settings_within(Settings(epochs=10), "600 s", 0.5) == Settings(epochs=10, iterations=120)
    assert budget.settings_within(Settings(epochs=100), "10 s", 0.5) == Settings(epochs=20, iterations=1)
    with pytest.raises(ValueError, match="shorter than one step"):
        budget.settings_within(Settings(), "1 s", 2.0)


def test_the_schedule_ends_with_the_budget(tiny, discs, measured):
    history = fit(tiny(), discs(4), budget="10 s", epochs=5, **HOW)
    assert (history.steps, history.steps_per_epoch, len(history)) == (20, 4, 5)
    rates = history.column("lr")
    assert rates[-1] == pytest.approx(rates[0] * (1 / 5) ** 0.9), "the last of five epochs of poly"


def test_a_killed_run_goes_on_with_the_same_steps_without_measuring_again(tiny, discs, measured, tmp_path):
    a, b = tiny(), tiny()
    b.network.load_state_dict(a.network.state_dict())
    fit(a, discs(4), budget="6 s", epochs=4, **HOW)
    fit(b, discs(4), budget="6 s", epochs=4, out=tmp_path, on_epoch=lambda h: len(h) == 2, **HOW)
    again, count = tiny(), len(measured)
    history = fit(again, discs(4), budget="6 s", epochs=4, out=tmp_path, **HOW)
    assert len(measured) == count
    assert history.steps == 12
    assert json.loads((tmp_path / "settings.json").read_text())["budget"] == "6 s"
    for x, y in zip(a.network.state_dict().values(), again.network.state_dict().values(), strict=True):
        assert torch.equal(x, y)
    with pytest.raises(ValueError, match="budget"):
        fit(tiny(), discs(4), budget="7 s", epochs=4, out=tmp_path, **HOW)


def test_seeds_and_cases_share_a_measurement_and_other_rows_do_not(tiny, discs, measured, monkeypatch, tmp_path):
    found = iter((0.5, 0.25, 0.2))
    monkeypatch.setattr(budget, "seconds_per_step", lambda *_, **__: measured.append(1) or next(found))
    how = {**HOW, "budget": "6 s", "epochs": 4, "timings": tmp_path / "timings"}
    first = fit(tiny(), discs(4), seed=0, **how)
    again = fit(tiny(), discs(6), seed=1, **how)
    assert (first.steps, again.steps, len(measured)) == (12, 12, 1)
    assert fit(tiny(), discs(4), **how | {"batch": 1}).steps == 24, "another row: a larger share of the budget's steps"
    assert fit(tiny(), discs(4), **how | {"amp": True}).steps == 28, "bfloat16: other steps, another time"
    assert len(measured) == len(list((tmp_path / "timings").iterdir())) == 3


def test_of_runs_that_measure_at_the_same_time_the_first_to_finish_counts(tmp_path):
    def slow() -> float:
        faster = budget.shared_seconds_per_step(tmp_path, {"system": "a"}, lambda: 0.5)  # another process
        assert faster == 0.5
        return 0.75

    assert budget.shared_seconds_per_step(tmp_path, {"system": "a"}, slow) == 0.5
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_system_without_hard_links_shares_too(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(budget.os, "link", no_links)
    assert budget.shared_seconds_per_step(tmp_path, {"system": "a"}, lambda: 0.5) == 0.5
    assert budget.shared_seconds_per_step(tmp_path, {"system": "a"}, lambda: 0.75) == 0.5
    assert len(list(tmp_path.iterdir())) == 1


def test_measuring_changes_nothing_and_takes_the_time_of_a_step(tiny, discs, monkeypatch):
    """With a clock that counts its own calls: every step takes one unit."""
    system = tiny()
    before = {name: value.clone() for name, value in system.network.state_dict().items()}
    ticks = iter(range(100))
    monkeypatch.setattr(budget.time, "process_time", lambda: next(ticks))
    found = []
    original = budget.settings_within

    def counted(settings, text, per_step):
        found.append(per_step)
        return original(settings, text, per_step)

    monkeypatch.setattr(budget, "settings_within", counted)

    def stop(history):
        return True

    history = fit(replace(system), discs(4), budget="3 s", epochs=1, lr=1e-30, on_epoch=stop, **HOW)
    assert found == [1]
    assert history.steps == 3
    for name, value in system.network.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(value, before[name])
