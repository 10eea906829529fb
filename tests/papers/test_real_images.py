"""The stored results on real images are those of benchmarks/results, in the order of the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dsnotes.papers.real_images import real_images

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


@pytest.mark.parametrize("paper", ["mss_unet", "msds_unet", "dsms_unet"])
def test_the_stored_numbers_are_those_of_the_file(paper):
    stored = real_images(paper)
    text = (RESULTS / stored.file).read_text(encoding="utf-8")
    found = [(float(mean), float(spread)) for mean, spread in re.findall(r"\| ([\d.]+) ± ([\d.]+) \|", text)]
    assert list(stored.rows.values()) == found
    assert f"{stored.cases} test (seed 0)" in text
    assert stored.budget.split(" steps")[0] in text


def test_an_unknown_paper_is_answered_with_those_that_are_stored():
    with pytest.raises(ValueError, match=r"'nothing'.*dsms_unet.*mss_unet"):
        real_images("nothing")
