"""A person clicks Accept and Reject; what they said is in the file before the next click counts."""

from __future__ import annotations

import csv
import time

from dsnotes.data import phantoms

MADE = """from dsnotes.data import phantoms
from dsnotes.viewers import contact_sheet
cases = phantoms.nodules(3, seed=0)"""
SHOWN = "sheet = contact_sheet(cases, 'decisions.csv', window='lung'); None"


def decisions(path, wanted: int) -> list[list[str]]:
    """The rows of the file, without their times, as soon as there are so many."""
    found, end = [], time.monotonic() + 20
    while len(found) < wanted and time.monotonic() < end:
        time.sleep(0.1)
        if path.exists():
            with path.open(newline="", encoding="utf-8") as stream:
                found = [row[:2] for row in csv.reader(stream)][1:]
    return found


def test_clicks_are_kept_as_they_are_made_and_found_again(lab, open_notebook):
    notebook = open_notebook(lab.put("sheet.ipynb", MADE, SHOWN))
    notebook.run_all()
    accept = notebook.page.locator(".widget-toggle-button", has_text="accept")
    reject = notebook.page.locator(".widget-toggle-button", has_text="reject")
    accept.first.wait_for(timeout=30_000)
    assert accept.count() == reject.count() == 3
    still = notebook.page.locator(".jp-RenderedImage img").last
    undecided = still.get_attribute("src")

    names = [case.name for case in phantoms.nodules(3, seed=0)]
    file = lab.folder / "decisions.csv"
    accept.nth(0).click()
    assert decisions(file, 1) == [[names[0], "accept"]]
    reject.nth(2).click()
    assert decisions(file, 2)[1:] == [[names[2], "reject"]]
    accept.nth(2).click()  # a change of mind
    assert decisions(file, 3)[2:] == [[names[2], "accept"]]
    notebook.page.wait_for_timeout(500)
    assert still.get_attribute("src") != undecided  # the picture that stays in the file tells the decisions
    notebook.keep("contact_sheet")

    notebook.run_all()  # the same call takes the decisions up again
    pressed = notebook.page.locator(".widget-toggle-button.mod-active")
    pressed.nth(1).wait_for(timeout=30_000)
    assert [pressed.nth(at).inner_text().split()[-1] for at in range(pressed.count())] == ["accept", "accept"]
    assert notebook.went_out == []
