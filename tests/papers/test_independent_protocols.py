"""The papers' protocols once more, written from their text alone: epochs, sampling, stop rules, clean-up, evaluation.

Each test quotes the sentence that it computes. Training is observed from outside: every voxel of the made cases holds
its own number, and a hook on the network notes what it is given.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.distance import directed_hausdorff

import dsnotes
from dsnotes.data import phantoms
from dsnotes.data.case import Case
from dsnotes.data.preprocess import Preprocess
from dsnotes.data.splits import printed_folds, split
from dsnotes.inference import keep_kidneys
from dsnotes.papers.protocol import protocol, under
from dsnotes.runs.experiment import figures
from dsnotes.training.history import History
from dsnotes.training.settings import learning_rate, must_stop

UNIT = 1024.0  # voxels hold their number over this, exactly representable


def numbered(sizes, *, marked=lambda label: None):
    """Cases whose voxels are numbered across all of them."""
    cases, first = [], 0
    for index, size in enumerate(sizes):
        n = math.prod(size)
        image = (np.arange(first, first + n).reshape(size) / UNIT).astype(np.float32)
        label = np.zeros(size, np.uint8)
        marked(label)
        cases.append(Case(f"case_{index:05d}", image, label, (1.0,) * len(size)))
        first += n
    return cases


def given_in_training(recipe, system, cases, **changes):
    """The patches of one epoch under a paper's recipe, as arrays of voxel numbers, one list per step."""
    built = under(dsnotes.build(system, width=2), recipe)
    settings = replace(built.settings, epochs=1, augment=False, stop="never", **changes)
    seen = []

    def note(network, given):
        if network.training and given[0].any():  # `fit` first tries the network on zeros
            seen.append(np.rint(given[0].numpy() * UNIT).astype(int)[:, 0])

    built.network.register_forward_pre_hook(note)
    dsnotes.fit(built, cases, settings=settings, progress=False, workers=0, amp=False)
    return seen


def every_number(cases):
    return np.concatenate([np.rint(case.image * UNIT).astype(int).ravel() for case in cases])


def starts(patches):
    return [int(patch.flat[0]) for step in patches for patch in step]


# --- epochs and sampling ---------------------------------------------------------------------------------------------


def test_msds_divides_images_into_cubic_parts():
    """ "The images and the ground truth are divided into multiple cubic parts … The batchsize is set to 1"."""
    cases = numbered([(32, 64, 96), (64, 64, 40)])
    seen = given_in_training("msds", "unet-3d", cases, patch=(32, 32, 32))
    assert {len(step) for step in seen} == {1}
    assert len(seen) == 1 * 2 * 3 + 2 * 2 * 2, "as few cubes as cover the volumes"
    assert len(set(starts(seen))) == len(seen), "none twice"
    assert set(every_number(cases)) == set(np.concatenate([step.ravel() for step in seen]))


def test_dsms_and_mu_net_show_every_slice_once():
    """µ-Net: "Avg.T (i.e., the time needed to train all samples once)"; "transform these 3D images into 2D images"."""
    for recipe, batch in (("mu-net-brats", 4), ("mu-net-liver", 1), ("dsms", 4)):
        cases = numbered([(n, 32, 32) for n in (5, 7, 1)])
        seen = given_in_training(recipe, "unet-2d", cases, patch=(32, 32))
        assert {len(step) for step in seen} == {batch}
        shown = starts(seen)
        whole = set(range(0, 13 * 32**2, 32**2))
        assert set(shown) == whole, recipe
        assert len(shown) - len(whole) < batch * protocol(recipe).settings.accumulate, "only the last step is filled up"


def test_mu_net_deletes_negative_samples_of_heart_and_spleen():
    """ "For the Cardiac and Spleen datasets, negative samples are deleted"; batches of 2 and 1."""

    def marked(label):
        label[2:5, 4, 4] = 1

    cases = numbered([(8, 32, 32), (6, 32, 32)], marked=marked)
    positive = {32**2 * n for n in (2, 3, 4, 8 + 2, 8 + 3, 8 + 4)}
    for recipe, batch in (("mu-net-cardiac", 2), ("mu-net-spleen", 1)):
        seen = given_in_training(recipe, "unet-2d", cases, patch=(32, 32))
        assert sorted(starts(seen)) == sorted(positive)
        assert {len(step) for step in seen} == {batch}
    assert len(set(starts(given_in_training("mu-net-brats", "unet-2d", cases, patch=(32, 32))))) == 14


def test_mu_net_keeps_slices_30_to_125_of_a_brain():
    """ "Only the 30th to the 125th slices are selected"."""
    (case,) = numbered([(155, 4, 4)])
    kept = Preprocess(slices=(30, 125))(case)
    assert kept.space == (24864 // 259, 4, 4), "Table 1's images of the 259 HGG patients"
    np.testing.assert_array_equal(kept.image, case.image[..., 30:126, :, :])


def test_mss_draws_250_batches_of_eight_patches_anywhere():
    """ "The patch is randomly sampled"; "each epoch is set to 250 iterations … 250·8 patches"."""
    settings = protocol("mss").settings
    assert (settings.iterations, settings.batch) == (250, 8)
    cases = numbered([(32, 32, 32)] * 3)
    seen = given_in_training("mss", "unet-3d", cases, patch=(16, 16, 16), iterations=30)
    found = starts(seen)
    assert len(found) == 30 * 8
    case, rest = np.divmod(found, 32**3)
    assert set(case) == {0, 1, 2}
    at = np.stack(np.unravel_index(rest, (32, 32, 32)))
    assert at.min() == 0
    assert at.max() == 16
    # Uniform on 0 … 16: mean 8, deviation of the mean of 240 draws 4.9 / sqrt(240) = 0.32.
    assert abs(at.mean(1) - 8).max() < 4 * 0.32


def test_mss_forces_no_foreground():
    def marked(label):
        label[0, 0, 0] = 1  # one corner, which a patch drawn anywhere holds once in 17³

    seen = given_in_training(
        "mss", "unet-3d", numbered([(32, 32, 32)], marked=marked), patch=(16, 16, 16), iterations=10
    )
    assert sum(start == 0 for start in starts(seen)) <= 1


def test_dsnet_shows_every_nodule_once_by_itself():
    """ "Training batch size set to 1"; crops of 64 × 64 are whole samples."""

    def marked(label):
        label[30:34, 30:34] = 1

    cases = numbered([(64, 64)] * 6, marked=marked)
    seen = given_in_training("dsnet", "unet-2d", cases, patch=(64, 64))
    assert {step.shape for step in seen} == {(1, 64, 64)}
    assert sorted(starts(seen)) == [n * 64 * 64 for n in range(6)]


# --- rates and stop rules --------------------------------------------------------------------------------------------


def test_dsnet_rate_is_poly_from_2e_4_over_60_epochs():
    settings = protocol("dsnet").settings
    for epoch in (0, 1, 30, 59):
        assert learning_rate(settings, epoch) == pytest.approx(2e-4 * (1 - epoch / 60) ** 0.9)


@pytest.mark.parametrize("seed", range(20))
def test_mu_net_stops_at_twice_the_best_epoch(seed):
    """ "The model stops training when the average of all metrics for training 2 · best_epoch … no longer increases"."""
    scores = np.random.default_rng(seed).uniform(0.2, 0.9, 200).round(3)
    best, stop = 0, None
    for epoch in range(1, 201):
        if best == 0 or scores[epoch - 1] > scores[best - 1]:
            best = epoch
        if epoch >= 2 * best:
            stop = epoch
            break
    settings = replace(protocol("mu-net-brats").settings, stop_dice=0.0)  # without our guard
    ended = ends(settings, [{"loss": 1.0, "val_score": s, "val_dice": 1.0} for s in scores])
    assert ended == stop


def test_mu_nets_guard_waits_for_a_segmentation_and_then_changes_nothing():
    """Ours, named in the recipe: epochs below a Dice of .1 cannot be the best."""
    settings = protocol("mu-net-brats").settings
    silent = [{"loss": 1.0, "val_score": 0.9 - 0.001 * n, "val_dice": 0.01} for n in range(10)]
    learned = [{"loss": 1.0, "val_score": 0.5 - 0.01 * n, "val_dice": 0.5} for n in range(30)]
    assert ends(settings, silent + learned) == 2 * 11, "the eleventh is the first that counts, and the best"
    assert ends(replace(settings, stop_dice=0.0), silent + learned) == 2


def test_mss_stops_after_50_epochs_without_improvement():
    """ "The training is over whenever no improvements in the loss are identified over 50 epochs"."""
    settings = protocol("mss").settings
    falling = [1.0 - 0.01 * n for n in range(60)]
    assert ends(settings, [{"loss": x} for x in falling]) is None
    for epochs in (1, 20):
        losses = falling[:epochs] + [2.0] * 80
        assert ends(settings, [{"loss": x} for x in losses]) == epochs + 50 + 1, "more than 50"


def ends(settings, records):
    """After how many epochs the rule ends the run; None if it never does."""
    history = History()
    for epoch, record in enumerate(records, start=1):
        history.append({"epoch": epoch, "seconds": 1.0, **record})
        if must_stop(settings, history, settings.lr):
            return epoch
    return None


# --- splits ----------------------------------------------------------------------------------------------------------


def test_parts_have_the_papers_numbers():
    kits = [f"case_{n:05d}" for n in range(210)]
    test = round(0.2 * 210)  # "20 % of the patients as the independent test dataset. Among the rest … 20 %"
    validation = math.ceil(0.2 * (210 - test))  # 33.6; Table I has 34
    (parts,) = printed_folds(kits, protocol("mss").split["KiTS19"], seed=0)
    assert [len(part) for part in parts] == [210 - test - validation, validation, test]
    pancreas = [f"pancreas_{n:03d}" for n in range(283)]  # "training (70 %), validation (10 %), and testing (20 %)"
    assert [len(part) for part in split(pancreas, (0.7, 0.1, 0.2), seed=0)] == [198, 28, 57]
    lung = [f"LUNG1-{n:03d}" for n in range(1, 423)]
    folds = printed_folds(lung, protocol("msds").split["Lung1"], seed=0)
    table_9 = [(296, 60, 66), (297, 60, 65), (296, 60, 66)]
    assert [tuple(map(len, fold)) for fold in folds] == table_9
    assert all(sorted({*a, *b, *c}) == lung for a, b, c in folds), "nobody is in two parts, and nobody is left out"


# --- inference and clean-up ------------------------------------------------------------------------------------------


def test_mss_aggregates_up_to_64_predictions():
    """ "Patches are chosen to overlap by one half …; in the center … up to 64 predictions from several overlaps and
    mirroring are aggregated"."""
    system = dsnotes.build("unet-3d", width=2)
    system.network.eval()
    passes = 0

    def count(network, given):
        nonlocal passes
        passes += len(given[0])

    system.network.register_forward_pre_hook(count)
    (case,) = numbered([(32, 32, 32)])
    dsnotes.predict(system, case, patch=(16, 16, 16), overlap=0.5, mirror=True, device="cpu", amp=False)
    windows = len(range(0, 32 - 16 + 1, 8)) ** 3
    assert passes == windows * 2**3
    over_the_centre = sum(start <= 16 < start + 16 for start in range(0, 17, 8)) ** 3
    assert over_the_centre * 2**3 == 64


def kept_kidneys(label):
    """ "The segmentation keeps the top two biggest kidney components"; "all tumor components attached to a kidney are
    maintained … while others are removed"."""
    around = np.ones((3,) * label.ndim)
    parts, n = ndimage.label(label == 1, around)
    sizes = ndimage.sum_labels(label == 1, parts, range(1, n + 1))
    largest = 1 + np.argsort(-sizes, kind="stable")[:2]
    kidneys = np.isin(parts, largest) & (label == 1)
    tumours, n = ndimage.label(label == 2, around)
    touching = set(np.unique(tumours[ndimage.binary_dilation(kidneys, around)])) - {0}
    return np.where(kidneys, 1, np.where(np.isin(tumours, list(touching)), 2, 0))


@pytest.mark.parametrize("seed", range(20))
def test_mss_clean_up_as_the_text_has_it(seed):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(2, 12, 24, 24)), (0, 1, 1, 1))
    label = np.where(noise[0] > np.quantile(noise[0], 0.9), 1, 0)
    label = np.where(noise[1] > np.quantile(noise[1], 0.95), 2, label).astype(np.uint8)
    expected = kept_kidneys(label)
    assert 0 < (expected > 0).sum() < (label > 0).sum()
    np.testing.assert_array_equal(keep_kidneys(label, literal=True), expected)


# --- evaluation ------------------------------------------------------------------------------------------------------


def ratios(p, t):
    tp, fp, fn = (p & t).sum(), (p & ~t).sum(), (~p & t).sum()
    return 2 * tp / (2 * tp + fp + fn), tp / max(tp + fn, 1), tp / max(tp + fp, 1)


@pytest.fixture
def marked_volume():
    """Probabilities and truth with slices of every kind: hit, missed, invented, empty."""
    rng = np.random.default_rng(0)
    truth = np.zeros((8, 24, 24), np.uint8)
    truth[2:6, 6:14, 6:14] = 1
    p = np.clip(rng.uniform(0, 0.45, truth.shape) + 0.5 * np.roll(truth, (-1, 2), axis=(0, 1)), 0, 1)
    p[7, 2:5, 2:5] = 0.93
    return p.astype(np.float32)[None], Case("a", np.zeros(truth.shape, np.float32), truth, (2.0, 1.0, 1.0))


def test_msds_scores_slices_with_a_tumour_and_all_slices(marked_volume):
    """Table 10: "only slices with containing lung tumors"; Table 11: "all slices"; false positive and negative slices.

    Of all slices only those with a tumour or a mark have a Dice: our reading, without which 0 / 0 would count.
    """
    p, case = marked_volume
    found = figures(p, case, names={1: "tumour"})
    marked, truth = p[0] > 0.5, case.label > 0
    with_tumour = [ratios(a, b) for a, b in zip(marked, truth, strict=True) if b.any()]
    either = [ratios(a, b) for a, b in zip(marked, truth, strict=True) if a.any() or b.any()]
    assert found["dice_tumour_slices"] == pytest.approx(np.mean([dice for dice, *_ in with_tumour]))
    assert found["dice_all_slices"] == pytest.approx(np.mean([dice for dice, *_ in either]))
    assert len(either) > len(with_tumour)
    assert found["sensitivity_tumour_slices"] == pytest.approx(np.mean([s for _, s, _ in with_tumour]))
    assert found["ppv_tumour_slices"] == pytest.approx(np.mean([precision for *_, precision in with_tumour]))
    has, shows = truth.any((1, 2)), marked.any((1, 2))
    assert found["false_positives"] == (shows & ~has).sum() > 0
    assert found["false_negatives"] == (has & ~shows).sum() > 0


def test_msds_table_12_scores_each_threshold(marked_volume):
    p, case = marked_volume
    found = figures(p, case, names={1: "tumour"}, thresholds=[0.5, 0.6, 0.9])
    for threshold in (0.5, 0.6, 0.9):
        marked, truth = p[0] > threshold, case.label > 0
        assert found[f"dice@{threshold:g}"] == pytest.approx(ratios(marked, truth)[0])
        has, shows = truth.any((1, 2)), marked.any((1, 2))
        assert found[f"false_positives@{threshold:g}"] == (shows & ~has).sum()
        assert found[f"false_negatives@{threshold:g}"] == (has & ~shows).sum()


def test_mss_table_2s_six_measures(marked_volume):
    """Dice, Jaccard, accuracy, precision, recall, and the Hausdorff distance of the surfaces in mm."""
    p, case = marked_volume
    found = figures(p, case, names={1: "kidney"})
    marked, truth = p[0] > 0.5, case.label > 0
    dice, recall, precision = ratios(marked, truth)
    around = ndimage.generate_binary_structure(3, 1)
    rims = [np.argwhere(m & ~ndimage.binary_erosion(m, around)) * case.spacing for m in (marked, truth)]
    expected = {
        "dice": dice,
        "iou": (marked & truth).sum() / (marked | truth).sum(),
        "accuracy": (marked == truth).mean(),
        "ppv": precision,
        "sensitivity": recall,
        "hausdorff": max(directed_hausdorff(*rims)[0], directed_hausdorff(*rims[::-1])[0]),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_mu_net_stops_by_the_mean_of_four_metrics():
    """ "The average of all metrics": DICE, PPV, SEN and IoU of Eq. 14, here of all validation pixels."""
    torch.manual_seed(0)
    system = under(dsnotes.build("unet-2d", width=4), "mu-net-brats")
    cases = [Preprocess(clip=(-1000, 400), normalise="window")(case) for case in phantoms.nodules(6, seed=0)]
    settings = replace(system.settings, patch=(64, 64), epochs=2, iterations=60, lr=3e-3)
    history = dsnotes.fit(system, cases[:4], cases[4:], settings=settings, progress=False, workers=0, amp=False)
    tp = pred = true = 0
    for case in cases[4:]:
        marked, truth = dsnotes.predict(system, case, device="cpu", amp=False)[0] > 0.5, case.label > 0
        tp, pred, true = tp + (marked & truth).sum(), pred + marked.sum(), true + truth.sum()
    dice, ppv = (2 * tp + 1) / (true + pred + 1), (tp + 1) / (pred + 1)
    sen, iou = (tp + 1) / (true + 1), (tp + 1) / (true + pred - tp + 1)
    assert pred > 0
    assert list(history)[-1]["val_score"] == pytest.approx(np.mean([dice, ppv, sen, iou]), rel=1e-4)
