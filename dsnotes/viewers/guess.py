"""The reader predicts a result before it is computed; afterwards both are shown together."""

from __future__ import annotations

from collections.abc import Sequence
from re import sub
from typing import Any

from dsnotes.safety.markup import escape
from dsnotes.viewers import notebook_display
from dsnotes.viewers.notebook_display import Paragraph


class Guess:
    """A box to type into, or buttons where there are `choices`; `compare` shows the answer beside what was typed.

    Without a browser there is no box, and the answer is folded. A prediction typed after `compare` is compared too.
    """

    def __init__(self, question: str, choices: Sequence[str] = ()) -> None:
        self.question, self.choices = question, tuple(choices)
        self.typed = ""
        self._answer: Any = None
        self._why = ""
        self._result_area: notebook_display.DisplayArea | None = None
        self._show()

    def _show(self) -> None:
        spot = notebook_display.DisplayArea()
        if notebook_display.here() != "browser":
            spot.put(Paragraph(f"<b>Your prediction:</b> {escape(self.question)}{self._choices_in_brackets()}"))
            return
        import ipywidgets

        if self.choices:
            box = ipywidgets.RadioButtons(options=self.choices, value=None, layout={"width": "max-content"})
        else:
            box = ipywidgets.Text(placeholder="your prediction", continuous_update=False)
        box.observe(lambda change: self.predict(change["new"]), "value")
        spot.put(ipywidgets.VBox([ipywidgets.HTML(f"<b>Your prediction:</b> {escape(self.question)}"), box]))

    def _choices_in_brackets(self) -> str:
        return f" ({escape(' / '.join(self.choices))})" if self.choices else ""

    def predict(self, answer: object) -> None:
        """Record the prediction, as if it had been typed."""
        self.typed = "" if answer is None else str(answer).strip()
        if self._result_area is not None:
            self._result_area.put(self._verdict())

    def compare(self, answer: float | str, why: str = "") -> None:
        """Show the prediction, the result and, in a sentence, the reason."""
        if self.choices and answer not in self.choices:
            raise ValueError(f"the answer {answer!r} is not among the choices {list(self.choices)}: add it there.")
        self._answer, self._why = answer, why
        self._result_area = notebook_display.DisplayArea()
        self._result_area.put(self._verdict())

    def _verdict(self) -> Paragraph:
        answer = f"{self._answer:.3g}" if isinstance(self._answer, float) else str(self._answer)
        result = f"The result: <b>{escape(answer)}</b>." + (f" {escape(self._why)}" if self._why else "")
        if not self.typed:
            return Paragraph(f"<details><summary>{escape(self.question)} Compare.</summary>{result}</details>")
        return Paragraph(f"You predicted <b>{escape(self.typed)}</b>{self._error_in_words()}. {result}")

    def _error_in_words(self) -> str:
        """How far off a typed number is; whether a choice is right."""
        if self.choices:
            return ", correctly" if self.typed == self._answer else ""
        number = sub(r"[^0-9eE.+-]", "", self.typed.replace(",", "."))
        try:
            off = (float(number) / (100 if "%" in self.typed else 1)) - float(self._answer)
        except (TypeError, ValueError):
            return ""
        return f", off by {abs(off):.2g}"
