"""The page "Bring your own network, loss, data" says what runs: its blocks are taken from it and run in their order."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import dsnotes

PAGE = Path(__file__).resolve().parents[1] / "site" / "pages" / "bring_your_own.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
LINES = 10  # of code in a block


@pytest.fixture(scope="module")
def after(tmp_path_factory) -> list[dict]:
    """What the names of the page stand for after each of its blocks."""
    with warnings.catch_warnings():  # of the other library's own import
        warnings.simplefilter("ignore")
        import monai.losses
        import monai.networks.nets  # noqa: F401
    torch.manual_seed(0)
    names: dict = {}
    found = []
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("page"))
        for number, block in enumerate(BLOCKS, start=1):
            exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
            found.append({**names, "weights": {k: v.clone() for k, v in names["net"].state_dict().items()}})
        found[-1]["saved"] = torch.load("net.pt")
    return found


def test_a_block_has_at_most_ten_lines_of_code():
    counts = [sum(bool(line.strip()) for line in block.splitlines()) for block in BLOCKS]
    assert max(counts) <= LINES, counts


def test_every_training_of_the_page_moves_the_network_that_was_brought(after):
    moved = 0
    for block, before, now in zip(BLOCKS[1:], after, after[1:], strict=False):
        if "dsnotes.fit" in block:
            assert np.isfinite(now["history"][-1]["loss"])
            assert any(not torch.equal(before["weights"][k], now["weights"][k]) for k in now["weights"])
            moved += 1
    assert moved == sum("dsnotes.fit" in block for block in BLOCKS[1:]) > 4


def test_the_terms_are_those_that_the_page_speaks_of(after):
    assert {"stride1", "stride2", "stride4"} <= after[0]["history"][-1].keys()
    assert "coarsest" in after[-1]["history"][-1]


def test_the_loss_of_the_page_is_the_focal_loss(after):
    from dsnotes.losses.full_scale import focal

    logits, target = torch.randn(2, 1, 8, 8), torch.randint(0, 2, (2, 1, 8, 8)).float()
    torch.testing.assert_close(after[-1]["focal"](logits, target), focal(logits, target))


def test_what_goes_out_is_what_was_trained(after):
    last = after[-1]
    assert all(torch.equal(last["saved"][name], value) for name, value in last["weights"].items())
    case = last["cases"][3]
    again = dsnotes.predict(last["trained"], case, device="cpu")
    assert np.array_equal(dsnotes.to_label(again), last["label"])
