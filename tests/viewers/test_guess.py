"""What the reader predicted stands beside the result; without a browser the answer is folded."""

from __future__ import annotations

import ipywidgets
import pytest

from dsnotes.viewers import Guess, notebook_display


@pytest.fixture
def shown(monkeypatch) -> list:
    """Every object put into the notebook, as in a browser."""
    put = []
    monkeypatch.setattr(notebook_display.DisplayArea, "put", lambda spot, thing: put.append(thing))
    return put


def box_of(panel: ipywidgets.VBox) -> ipywidgets.Widget:
    return panel.children[1]


def test_without_a_browser_the_question_is_there_and_the_answer_folded(shown):
    Guess("What share is tumour?").compare(0.0123, "Tumours are small.")
    question, answer = (thing._repr_html_() for thing in shown)
    assert "What share is tumour?" in question
    assert "<details>" in answer
    assert "0.0123" in answer.split("</summary>")[1]
    assert "Tumours are small." in repr(shown[1])


def test_a_typed_number_is_compared(shown, monkeypatch):
    monkeypatch.setattr(notebook_display, "here", lambda: "browser")
    guess = Guess("What share?")
    box_of(shown[0]).value = "10 %"
    guess.compare(0.02)
    assert "10 %" in repr(shown[-1])
    assert "off by 0.08" in repr(shown[-1])
    assert "details" not in shown[-1]._repr_html_()


def test_what_is_typed_after_the_result_replaces_the_folded_answer(shown, monkeypatch):
    monkeypatch.setattr(notebook_display, "here", lambda: "browser")
    guess = Guess("Which falls first?", choices=("Dice", "cross-entropy"))
    guess.compare("cross-entropy")
    assert "<details>" in shown[-1]._repr_html_()
    box_of(shown[0]).value = "cross-entropy"
    assert "correctly" in repr(shown[-1])
    box_of(shown[0]).value = "Dice"
    assert "correctly" not in repr(shown[-1])


def test_markup_in_what_is_typed_is_shown_as_typed(shown):
    guess = Guess("<b>?")
    guess.predict("<script>")
    guess.compare("x")
    assert not any("<script>" in thing._repr_html_() or "<b>?" in thing._repr_html_() for thing in shown)


def test_an_answer_that_is_no_choice_is_refused(shown):
    with pytest.raises(ValueError, match=r"'c'.*\['a', 'b'\]"):
        Guess("?", choices=("a", "b")).compare("c")
