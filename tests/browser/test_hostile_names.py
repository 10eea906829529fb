"""Names of cases, labels and columns that are markup go through every viewer: they are shown as text."""

from __future__ import annotations

HOSTILE = "<img src=x onerror=\"window.hostile=1;alert('hostile')\">$\\\\frac{</b><script>alert(1)</script>"
MADE = f"""import numpy as np
from dataclasses import replace
import dsnotes
from dsnotes import runs
from dsnotes.data import phantoms
from dsnotes.papers import Systems
from dsnotes.training.history import History
from dsnotes.viewers import (Table, boxes, contact_sheet, curves, maps, progress, show, side_by_side,
                             significance_table)
evil = {HOSTILE!r}
volume = replace(phantoms.kidneys(1, seed=3)[0], name=evil)
image = replace(phantoms.nodules(1, seed=0)[0], name=evil)
names = {{1: evil, 2: evil + '2'}}
scores = {{evil: {{evil: [.1, .2, .4]}}, 'b': {{evil: [.2, .2, .3]}}}}
row = {{'papers': [evil], 'tables': [evil], 'dims': 2, 'width': 8, 'options': {{}}}}
records = [{{'epoch': epoch, evil: .5, 'loss': .5, 'seconds': 1.0}} for epoch in (1, 2)]"""
SHOWN = (
    "show(volume, prediction=volume.label, names=names, viewer='volume')",
    "show(volume, prediction=volume.label, names=names, viewer='slices')",
    "show(image, names={1: evil}, viewer='still')",
    "side_by_side(volume, {evil: volume.label, 'b': volume.label}, viewer='volume')",
    "sheet = contact_sheet([image], 'decisions.csv'); sheet",
    "Table([{evil: evil}], caption=evil)",
    "significance_table(scores, star=evil, caption=evil)",
    "runs.record({evil: {evil: 1.0}})",
    "Systems({evil: row})",
    "History(records)",
    "curves.plot(History(records), title=evil)",
    "maps({evil: {evil: np.eye(8)}}, title=evil)",
    "boxes(scores, title=evil)",
    "for _ in progress([evil], of=evil): pass",
)


def test_a_hostile_name_is_text_in_every_viewer(lab, open_notebook):
    notebook = open_notebook(lab.put("hostile.ipynb", MADE, *SHOWN))
    dialogs = []
    notebook.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    notebook.run_all(timeout=300)
    for cell in range(len(SHOWN) + 1):
        notebook.cells.nth(cell).scroll_into_view_if_needed(timeout=30_000)
        notebook.page.wait_for_timeout(300)
    notebook.page.wait_for_timeout(2000)
    notebook.keep("hostile_names")
    assert dialogs == []
    assert notebook.page.evaluate("window.hostile") is None
    assert notebook.page.locator(".jp-OutputArea img[src=x]").count() == 0
    assert notebook.page.get_by_text("<img src=x onerror=").count() >= 5, "the names are not shown at all"
