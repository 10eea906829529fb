"""What an experiment records of a case, against the metrics it comes from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.case import Case
from dsnotes.metrics import slice_scores, tumour_scores
from dsnotes.papers.protocol import LOSSES, protocol
from dsnotes.runs.experiment import cases_of, cleaned, figures, label_of, settings_of, system_of


@pytest.fixture(scope="module")
def answered() -> tuple[Case, np.ndarray]:
    """A chest, and probabilities that are its truth, one voxel off and with a false mark."""
    case = phantoms.lung(1, seed=0)[0]
    p = 0.9 * np.roll(case.label, 1, axis=2).astype(np.float32)
    p[2:4, 5:9, 5:9] = 0.7
    return case, p[None]


def test_the_slices_are_those_of_the_papers_tables(answered):
    case, p = answered
    found, pair = figures(p, case), ((p[0] > 0.5), case.label > 0)
    for of, only in (("tumour_slices", True), ("all_slices", False)):
        whole = slice_scores([pair], only_tumour=only)
        for name in ("dice", "sensitivity", "ppv"):
            assert found[f"{name}_{of}"] == pytest.approx(getattr(whole, name))
        tp, fp, fn = (found[f"{name}_{of}"] for name in ("tp", "fp", "fn"))
        assert 2 * tp / (2 * tp + fp + fn) == pytest.approx(whole.f1)
    assert (found["false_positives"], found["false_negatives"]) == (whole.false_positives, whole.false_negatives)
    assert found["false_positives"] == 2


def test_a_scale_is_the_mean_of_its_tumours_and_its_voxels_are_counted(answered):
    case, p = answered
    found, tumours = figures(p, case), tumour_scores(p[0] > 0.5, case.label > 0, spacing=case.spacing)
    total = 0
    for scale in {tumour.scale for tumour in tumours}:
        own = [tumour.dice for tumour in tumours if tumour.scale == scale]
        assert found[f"dice_{scale}"] == pytest.approx(np.mean(own))
        total += found[f"tp_{scale}"] + found[f"fn_{scale}"]
        if len(own) == 1:
            tp, fp, fn = (found[f"{name}_{scale}"] for name in ("tp", "fp", "fn"))
            assert 2 * tp / (2 * tp + fp + fn) == pytest.approx(own[0])
    assert total == case.label.sum() == found["tp"] + found["fn"]


def test_thresholds_are_recorded_where_they_are_asked_for(answered):
    case, p = answered
    found = figures(p, case, thresholds=(0.5, 0.8))
    assert found["dice@0.5"] == pytest.approx(found["dice"])
    assert found["dice@0.8"] > found["dice@0.5"]
    assert (found["false_positives@0.5"], found["false_positives@0.8"]) == (2, 0)
    assert not any("@" in name for name in figures(p, case))


def test_several_classes_have_names_and_are_cleaned_up():
    case = phantoms.kidneys(1, seed=0)[0]
    p = np.stack([case.label == value for value in range(3)]).astype(np.float32)
    p[:, 0, 0, 0] = (0, 0, 1)  # a tumour without a kidney
    found = figures(p, case, names={1: "kidney", 2: "tumour"})
    assert found["dice_kidney"] == 1
    assert found["dice_tumour"] < 1
    assert figures(p, case, names={1: "kidney", 2: "tumour"}, postprocess="kidneys")["dice_tumour"] == 1
    with pytest.raises(ValueError, match="postprocess='kidney' is unknown. Choose one of"):
        cleaned(case.label, "kidney")


def test_a_slice_has_the_figures_of_a_slice():
    case = phantoms.nodules(1, seed=0)[0]
    found = figures(case.label[None].astype(np.float32), case)
    assert found["dice"] == 1
    assert not any("slices" in name or "large" in name for name in found)


def test_cases_are_phantoms_or_a_folders(tmp_path, monkeypatch):
    cases, names = cases_of("nodules", phantom_cases=3, size=(64, 64))
    assert len(cases) == 3
    assert names == {1: "nodule"}
    assert cases_of("nodules", phantom_cases=1, size=(32, 48, 48))[0][0].space == (32, 48, 48)
    monkeypatch.setenv("DSNOTES_STARTED_FROM", str(tmp_path))
    with pytest.raises(ValueError, match=r"data='kidney' is neither a folder .*Did you mean the phantoms 'kidneys'\?"):
        cases_of("kidney")


def test_settings_are_the_papers_where_nothing_is_given():
    system = dsnotes.build("mss-unet", width=2, patch=(16, 32, 32), spacing=(3.0, 1.0, 1.0), halvings=2)
    assert settings_of(system, {}, lr=0.0, patch=[], epochs=0) == system.settings
    changed = settings_of(system, {"weight_decay": 0.0, "betas": [0.5, 0.9]}, epochs=3, patch=[16, 32, 32])
    assert changed == replace(system.settings, weight_decay=0.0, betas=(0.5, 0.9), epochs=3, patch=(16, 32, 32))
    with pytest.raises(ValueError, match="'weight_decy'.*nearest.*weight_decay"):
        settings_of(system, {"weight_decy": 0})


def test_a_run_has_the_settings_and_the_loss_of_its_recipe():
    values = {"system": "unet-3d", "recipe": "mss", "width": 2, "settings": {"lr": 0.1}, "epochs": 3}
    system = system_of(values)
    assert system.objective == LOSSES["ce+dice"]
    assert system.settings == replace(protocol("mss").settings, lr=0.1, epochs=3)
    assert system_of(values | {"loss": "bce"}).objective == LOSSES["bce"]
    assert system_of(values | {"recipe": "own"}).settings.batch == dsnotes.build("unet-3d", width=2).settings.batch
    sliced = system_of(values | {"system": "unet-2d"})
    assert sliced.settings.patch == (192, 192), "a network of slices takes the last two axes"


def test_regions_are_scored_as_the_challenges_count():
    """KiTS19: the kidney is kidney and tumour; BraTS: WT, TC and ET."""
    case = phantoms.kidneys(1, seed=0)[0]
    p = np.stack([case.label == value for value in range(3)]).astype(np.float32)
    p[:, case.label == 2] = np.array([0, 1, 0])[:, None]  # every tumour voxel is called kidney
    names, regions = {1: "kidney", 2: "tumour"}, {"kidney_and_tumour": [1, 2], "tumour_alone": [2]}
    found = figures(p, case, names=names, regions=regions)
    assert found["dice_kidney_and_tumour"] == 1
    assert found["dice_kidney"] < 1
    assert found["dice"] == pytest.approx((1 + found["dice_tumour_alone"]) / 2)
    with_eps = figures(p, case, names=names, regions=regions, eps=1.0)
    assert 0 < with_eps["dice_tumour_alone"] == pytest.approx(1 / (1 + (case.label == 2).sum()))


def test_no_threshold_is_the_dice_of_the_probabilities(answered):
    case, p = answered
    found = figures(p, case, thresholds=(0.5, "none"))
    truth = case.label > 0
    assert found["dice@none"] == pytest.approx(2 * p[0][truth].sum() / (p.sum() + truth.sum()))
    assert found["false_positives@none"] >= found["false_positives@0.5"]
    assert found["false_negatives@none"] <= found["false_negatives@0.5"]


def test_each_reader_is_compared_with_where_a_case_has_several():
    case = phantoms.nodules(1, seed=0)[0]
    found = figures(case.extras["readers"][1][None].astype(np.float32), case)
    assert found["dice_reader_2"] == 1
    assert [name for name in found if name.startswith("dice_reader")] == [f"dice_reader_{n}" for n in (1, 2, 3, 4)]


def test_ignored_voxels_count_in_no_figure():
    """Whatever is marked or drawn there, every figure stays."""
    case = phantoms.lung(1, seed=0)[0]
    valid = np.ones(case.space, np.uint8)
    valid[:, :, : case.space[2] // 2] = 0
    p = 0.9 * np.roll(case.label, 1, axis=1).astype(np.float32)
    case = replace(case, extras={"valid": valid})
    asked = {"thresholds": (0.5, "none"), "names": {1: "tumour"}}
    found = figures(p[None], case, **asked)
    other = replace(case, label=np.where(valid, case.label, 1).astype(np.uint8))
    assert figures(np.where(valid, p, 1 - p)[None], other, **asked) == found
    counted = valid > 0
    assert found["tp"] == int(((p > 0.5) & (case.label > 0) & counted).sum())
    assert figures(p[None], replace(case, extras={}), **asked)["tp"] > found["tp"]


def test_regions_with_a_channel_each_are_scored_as_regions():
    """Of the brain: the oedema is missed, so the whole suffers and the core does not."""
    (case,) = phantoms.brain(1, seed=0, size=(16, 32, 32))
    regions, order = {"whole": (1, 2, 3), "core": (1, 3), "rim": (3,)}, (2, 1, 3)
    p = np.stack([np.isin(case.label, values) for values in regions.values()]).astype(np.float32)
    p[0][case.label == 2] = 0.4
    found = figures(p, case, names={1: "a", 2: "b", 3: "c"}, regions=regions, order=order)
    np.testing.assert_array_equal(label_of(p, order), np.where(case.label == 2, 0, case.label))
    assert (found["dice_core"], found["dice_rim"]) == (1, 1)
    core, whole = (np.isin(case.label, regions[name]).sum() for name in ("core", "whole"))
    assert found["dice_whole"] == pytest.approx(2 * core / (core + whole))
    assert found["dice"] == pytest.approx((found["dice_whole"] + 2) / 3)
    assert "dice_a" not in found


def test_regions_are_built_with_the_loss_of_the_recipe():
    regions = {"whole": (1, 2), "core": (2,)}
    values = {"system": "unet-3d", "recipe": "mss", "width": 2, "loss": "bce"}
    system = system_of(values, classes=3, regions=regions)
    assert system.objective.regions == regions
    assert system.objective.binary == LOSSES["bce"]
    assert system.classes == 3
