"""An executed notebook as a page: today's prose, pictures with words, nothing that needs a kernel."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from book.executed import Copy
from book.links import Links, section
from book.pages import digest, page, still

from dsnotes.runs.source import open_source

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
ROOT = "/home/ada/dsnotes/"
ABOUT = {"started": "2026-11-21T10:00:00+00:00", "seconds": 75.4, "device": "cpu", "versions": {"torch": "2.13.0"}}


def executed(small: Path, alt: str = "Training curves over 2 epochs") -> Copy:
    """The lesson with outputs, as papermill leaves it: one cell more."""
    source = open_source(small / "notebooks" / "lesson.py")
    notebook = json.loads(json.dumps(source.notebook))
    outputs = iter(
        [
            [],
            [{"output_type": "stream", "name": "stdout", "text": "smoke\n"}],
            [
                {"output_type": "display_data", "data": {"image/png": PNG}, "metadata": {"image/png": {"alt": alt}}},
                {
                    "output_type": "display_data",
                    "data": {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "VBox()"},
                    "metadata": {},
                },
            ],
        ]
    )
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = next(outputs)
    injected = {
        "cell_type": "code",
        "metadata": {"tags": ["injected-parameters"]},
        "source": "smoke = True",
        "outputs": [],
    }
    notebook["cells"].insert(2, injected)
    return Copy(source, notebook, ABOUT, fresh=False, stale=False)


def test_outputs_stand_below_todays_cells_without_the_injected_one(small):
    shown, _ = page(executed(small), clean="../clean/lesson.ipynb", smoke=False)
    code = [cell for cell in shown["cells"] if cell["cell_type"] == "code"]
    assert [len(cell["outputs"]) for cell in code] == [0, 1, 2]
    assert "injected" not in json.dumps(shown)


def test_a_picture_is_described_by_its_viewer_below_its_heading(small):
    _, words = page(executed(small), clean="x", smoke=False)
    assert words == {digest(PNG): "A square: Training curves over 2 epochs"}


def test_a_picture_without_words_is_refused(small):
    with pytest.raises(ValueError, match=r"'A square'.*'Maps'.*alt="):
        page(executed(small, alt="Maps"), clean="x", smoke=False)


def test_what_only_a_kernel_moves_is_said_to_be_elsewhere():
    widget = {"output_type": "display_data", "data": {"application/vnd.jupyter.widget-view+json": {}}, "metadata": {}}
    assert "JupyterLab" in still(widget, ROOT)["data"]["text/markdown"]
    both = {"output_type": "display_data", "data": {"image/png": PNG, "text/html": "<b>", "text/plain": "x"}}
    assert list(still(both, ROOT)["data"]) == ["image/png"]
    bar = {"output_type": "stream", "name": "stderr", "text": "12%|###"}
    assert still(bar, ROOT) is None
    warning = {"output_type": "stream", "name": "stderr", "text": [f"{ROOT}dsnotes/a.py:3: UserWarning: x\n", "  y\n"]}
    assert still(warning, ROOT)["text"] == "dsnotes/a.py:3: UserWarning: x\n  y\n"


def test_a_page_says_how_it_was_executed(small):
    whole, _ = page(executed(small), clean="../clean/lesson.ipynb", smoke=False)
    first = whole["cells"][0]["source"]
    assert first.startswith("# A lesson\n")
    assert "21 November 2026 in 75 s on a CPU, with torch 2.13.0" in first
    assert "<../clean/lesson.ipynb>" in first
    tried, _ = page(executed(small), clean="x", smoke=True)
    assert "smoke mode" in tried["cells"][0]["source"]
    assert "smoke mode" not in first
    assert "has changed since" not in first
    old, _ = page(replace(executed(small), stale=True), clean="x", smoke=False)
    assert "The library has changed since." in old["cells"][0]["source"]


@pytest.fixture
def links(tmp_path) -> Links:
    (tmp_path / "repository" / "sweeps").mkdir(parents=True)
    (tmp_path / "repository" / "sweeps" / "mss-2.yml").write_text("x: 1")
    pages = {
        "notebooks/40_mss.ipynb": "notebooks/40_mss.ipynb",
        "labs/README.md": "labs/README.md",
        "README.md": "index.md",
    }
    return Links(tmp_path / "repository", tmp_path / "source", pages)


@pytest.mark.parametrize(
    ("written", "settled"),
    [
        ("[a](notebooks/40_mss.py#x)", "[a](../notebooks/40_mss.ipynb#x)"),
        ("[a](notebooks/40_mss.ipynb)", "[a](../notebooks/40_mss.ipynb)"),
        ("[a](labs/)", "[a](../labs/README.md)"),
        ("[a `b`](README.md)", "[a `b`](../index.md)"),
        ("[all](sweeps)", "all"),
        ("[one](sweeps/mss-2.yml)", "[one](../sweeps/mss-2.yml)"),
        ("[far](https://example.org/x) [here](#y)", "[far](https://example.org/x) [here](#y)"),
    ],
)
def test_links_of_the_repository_lead_somewhere_on_the_site(links, written, settled):
    assert links.settled(written, written_in="README.md", shown_at="pages/start.md") == settled


def test_a_file_that_is_linked_lies_beside_the_pages_and_a_dead_link_is_refused(links):
    links.settled("[one](sweeps/mss-2.yml)", written_in="README.md", shown_at="start.md")
    assert (links.source / "sweeps" / "mss-2.yml").read_text() == "x: 1"
    with pytest.raises(FileNotFoundError, match=r"README.md links to gone.md, .*gone.md does not exist"):
        links.settled("[x](gone.md)", written_in="README.md", shown_at="start.md")


def test_what_an_earlier_build_laid_and_this_one_did_not_is_swept_away(links):
    links.lay("old.md", b"old")
    later = Links(links.repository, links.source)
    later.lay("new.md", b"new")
    later.sweep()
    assert [p.name for p in links.source.rglob("*.md")] == ["new.md"]


def test_a_section_is_what_stands_below_its_heading():
    text = "# T\n\n## Start\n\none\n\n### more\n\ntwo\n\n## Next\n\nthree\n"
    assert section(text, "Start") == "one\n\n### more\n\ntwo"
    with pytest.raises(KeyError, match="no section 'End'; there are Start, Next"):
        section(text, "End")
