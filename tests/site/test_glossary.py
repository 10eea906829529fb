"""The glossary: every entry says where in the package, and modules named by a word of the field have one."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "site" / "pages" / "glossary.md").read_text(encoding="utf-8")
ENTRIES = {
    words: " ".join(text.split()) for words, text in re.findall(r"^- \*\*(.+?)\*\*: (.+(?:\n  .+)*)", PAGE, re.M)
}

# The word that a module is named by, where it is one that a newcomer may look up.
NAMED = {
    "data.annotators": "annotator",
    "data.case": "case",
    "data.patches": "patch",
    "data.phantoms": "phantom",
    "data.region": "region of interest",
    "inference.components": "connected component",
    "inference.mirror": "mirroring",
    "inference.sliding_window": "sliding window",
    "inference.temperature_scaling": "temperature scaling",
    "losses.adversarial": "adversarial loss",
    "losses.exponential_log": "exponential logarithmic loss",
    "metrics.calibration": "calibration",
    "metrics.surface": "surface distance",
    "networks.critic": "critic",
    "networks.encoders": "encoder",
    "networks.heads": "head",
    "networks.teacher": "teacher",
    "networks.wrap": "wrapped network",
    "runs.sweep": "sweep",
    "softmask.closed_form": "closed-form matting",
    "softmask.matting": "soft mask",
    "softmask.recist": "RECIST",
    "softmask.trimap": "trimap",
    "supervision.gradnorm": "GradNorm",
    "supervision.multi_scale": "deep supervision",
    "supervision.pseudo_labels": "pseudo-label",
    "supervision.restoration": "restoration",
    "supervision.soft_targets": "soft target",
    "supervision.targets": "target",
    "supervision.two_pathway": "hard fusion, soft fusion",
    "training.forward_pass": "mixed precision",
    "training.settings": "settings",
    "training.system": "system",
}


@pytest.mark.parametrize("module", NAMED)
def test_a_module_named_by_a_word_of_the_field_is_explained(module):
    assert f"`dsnotes.{module}`" in ENTRIES[NAMED[module]]


def test_every_entry_says_in_one_or_two_sentences_what_it_is_and_where():
    assert len(ENTRIES) == len(re.findall(r"^- ", PAGE, re.M)) > 50
    for word, text in ENTRIES.items():
        meaning, places = re.fullmatch(r"(.+?[.]) ((?:`dsnotes[\w.]*`(?:, )?)+)", text).groups()
        assert 1 <= len(re.findall(r"[.](?= [A-Z]|$)", meaning)) <= 2, f"{word}: {meaning}"
        for place in re.findall(r"`(.+?)`", places):
            importlib.import_module(place)


def test_entries_stand_in_alphabetical_order():
    for part in PAGE.split("\n## ")[1:]:
        words = [word.lower() for word in re.findall(r"^- \*\*(.+?)\*\*", part, re.M)]
        assert words == sorted(words), part.splitlines()[0]
