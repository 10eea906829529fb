"""A slider on an idea is moved with the keyboard, and everything beside it can be read on a dark page."""

from __future__ import annotations

import numpy as np
import pytest

DRAWN = """from dsnotes.supervision import downsample_target
from dsnotes.viewers import Guess, Table, explore
from dsnotes.viewers.maps import draw
import torch
mask = torch.zeros(1, 32, 32, dtype=torch.long)
mask[..., 9:16, 11:19] = 1
def target(stride, how):
    small = downsample_target(mask, (32 // stride, 32 // stride), channels=1, how=how)
    return draw({"mask": mask[0], "target": small[0, 0]}, title=f"stride {stride}, {how}")
choices = {"stride": (2, 4, 8), "how": ("nearest", "area")}"""
SHOWN = "explore(target, choices, stills=[{'stride': 2}, {'stride': 8}])"
GUESSED = "guess = Guess('How many pixels are left?', ['none', 'one', 'four'])"
COMPARED = (
    "guess.compare('four', why='Those of the middle.')\nTable([{'stride': 2, 'pixels left': 14}], caption='Left')"
)

# The colour of an element's letters and of what lies behind them, both as (red, green, blue).
COLOURS = """element => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  let behind = element;
  while (behind && (parts(getComputedStyle(behind).backgroundColor)[3] ?? 1) === 0) behind = behind.parentElement;
  return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor].map(c => parts(c).slice(0, 3));
}"""


def contrast(one, other) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio of two sRGB colours; 4.5 is asked of text."""

    def luminance(colour) -> float:
        share = np.asarray(colour, float) / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard():
    assert round(contrast((0, 0, 0), (255, 255, 255)), 6) == 21
    assert 4.5 < contrast((118, 118, 118), (255, 255, 255)) < 4.6  # the lightest grey that passes on white


def test_a_slider_moved_by_key_draws_again_and_the_dark_page_is_readable(lab, open_notebook):
    notebook = open_notebook(lab.put("idea.ipynb", DRAWN, SHOWN, GUESSED, COMPARED))
    page = notebook.page
    notebook.run_all()
    assert notebook.errors() == []

    picture, still = page.locator(".widget-image").first, page.locator(".jp-RenderedImage img").first
    handle = page.locator(".widget-slider .noUi-handle").first
    assert abs(picture.bounding_box()["width"] - still.bounding_box()["width"]) < 2  # letters of one size
    seen = [picture.get_attribute("src")]
    for key, stride in (("ArrowRight", "4"), ("ArrowRight", "8")):
        handle.focus()
        page.keyboard.press(key)
        page.locator(".widget-readout", has_text=stride).first.wait_for(timeout=10_000)
        page.wait_for_function("([image, old]) => image.src !== old", arg=[picture.element_handle(), seen[-1]])
        seen.append(picture.get_attribute("src"))
    assert len(set(seen)) == 3
    notebook.keep("explore_light")

    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.locator(".lm-Menu-item", has_text="Theme").first.click()
    page.locator(".lm-Menu-item", has_text="JupyterLab Dark").first.click()
    page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    page.wait_for_timeout(1000)
    notebook.keep("explore_dark")
    for text in (
        ".jp-RenderedHTML td",
        ".jp-RenderedHTML caption",
        ".widget-radio label",
        ".widget-html-content b",
        "summary",
    ):
        letters, behind = page.locator(text).first.evaluate(COLOURS)
        assert contrast(letters, behind) >= 4.5, text
        assert contrast(behind, (0, 0, 0)) < 3, f"{text} is on a light card"

    still.scroll_into_view_if_needed()
    title = notebook.pixels(still)[:20].reshape(-1, 3)  # the line above the maps
    ground, ink = np.median(title, axis=0), title[title.sum(1).argmin()]
    assert contrast(ground, ink) >= 7
    assert notebook.went_out == []


def test_a_cell_that_fails_is_noticed(lab, open_notebook):
    notebook = open_notebook(lab.put("fails.ipynb", "1 / 0", "1 + 1"))
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        notebook.run_all()
