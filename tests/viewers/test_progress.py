"""What is said while many trainings follow each other, by a clock of our own."""

from __future__ import annotations

import importlib
import time

import pytest

from dsnotes.viewers import progress


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """Every line, as it would be put into the notebook."""
    module, lines = importlib.import_module("dsnotes.viewers.progress"), []
    monkeypatch.setattr(module.DisplayArea, "put", lambda spot, line: lines.append(repr(line)))
    monkeypatch.setattr(module, "monotonic", iter([0.0, 0.0, 60.0, 120.0, 300.0]).__next__)
    return lines


def test_things_come_in_order_and_the_time_to_go_is_that_of_the_mean_so_far(said):
    assert list(progress(iter([("none", 0), ("none", 1), ("all", 0)]))) == [("none", 0), ("none", 1), ("all", 0)]
    assert said == [
        "1 of 3 trainings: none, 0",
        "2 of 3 trainings: none, 1; 60 s so far, about 2 min to go",
        "3 of 3 trainings: all, 0; 2 min so far, about 60 s to go",
        "3 trainings in 5 min",
    ]


def test_each_is_asked_for_when_the_one_before_is_done(said):
    things = progress(["a", "b"], of="epochs")
    assert said == []
    assert next(things) == "a"
    assert said == ["1 of 2 epochs: a"]


def test_outside_of_a_notebook_nothing_is_said(capsys):
    assert list(progress([1, 2])) == [1, 2]
    assert capsys.readouterr().out == ""


def test_in_a_notebook_the_line_is_renewed_while_one_thing_takes_long(monkeypatch):
    module, lines = importlib.import_module("dsnotes.viewers.progress"), []
    monkeypatch.setattr(module.DisplayArea, "put", lambda spot, line: lines.append(repr(line)))
    monkeypatch.setattr(module.notebook_display, "shell", lambda: object())
    monkeypatch.setattr(module, "BEAT", 0.02)
    for _ in progress(["a"]):
        time.sleep(0.2)
    renewed = [line for line in lines if line.startswith("1 of 1 trainings: a [")]
    assert len(renewed) >= 3
    count = len(lines)
    time.sleep(0.1)
    assert len(lines) == count, "the thread goes on after the loop"
