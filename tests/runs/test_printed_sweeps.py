"""What the papers print of their parts, folds and searches, against the sweeps: written from the papers' text."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

import dsnotes
from dsnotes.data.case import Case
from dsnotes.data.preprocess import Preprocess
from dsnotes.data.splits import k_fold, printed_folds
from dsnotes.networks.heads import TiedDecoder, VariationalDecoder
from dsnotes.papers.protocol import protocol
from dsnotes.runs.differences import labelled
from dsnotes.runs.experiment import system_of
from dsnotes.runs.plan import Plan, open_plan
from dsnotes.supervision import loss_terms

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
SMALL = {"width": 2}
RANGE = {0.1, 1.0, 10.0, 100.0, 1000.0}


def plan_of(name: str) -> Plan:
    return open_plan(SWEEPS / f"{name}.yml")


def first_runs(name: str) -> dict[str, dict]:
    return {row: found.runs[0] for row, found in labelled(plan_of(name)).items()}


def deployed(values: dict) -> list[tuple]:
    with torch.device("meta"):
        network = system_of(values | SMALL).network.deployed()
    return [tuple(p.shape) for p in network.parameters()]


def test_dsms_target_is_the_pancreas_with_its_tumour_and_everything_else_is_zero():
    """ "only the target organ and its tumor with fixed values, while other regions are allocated value with zero"."""
    label = np.array([[0, 1], [2, 0]], np.uint8)  # the Decathlon's: 1 pancreas, 2 cancer
    case = Case("pancreas_001", np.zeros((2, 2), np.float32), label, (1.0, 1.0))
    for values in plan_of("dsms-1").runs:
        assert Preprocess(relabel=tuple(values["relabel"]))(case).label.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (("dsnet-1", "dsnet-3-lnsm", "dsnet-4"), {"train": 1000, "test": 400, "validation": 100}),
        (("dsnet-2", "dsnet-3"), {"train": 387, "validation": 55, "test": 544}),
    ],
)
def test_dsnet_has_the_printed_numbers_of_nodules(names, counts):
    """ "training set (1,000 nodules), test set (400 nodules) and validation set (100 nodules)"; "387, 55, and 544"."""
    nodules = [f"{n:06d}_01_01_001-1" for n in range(sum(counts.values()))]
    for name in names:
        for values in plan_of(name).runs:
            (parts,) = printed_folds(nodules, values["split"], seed=0)
            assert dict(zip(("train", "validation", "test"), map(len, parts), strict=True)) == counts, name
    paired = [f"{n // 2:06d}_01_01_{n % 2:03d}-1" for n in range(sum(counts.values()))]  # two nodules of each patient
    (parts,) = printed_folds(paired, plan_of(names[0]).runs[0]["split"], seed=0)
    missed = [len(part) - counts[which] for which, part in zip(("train", "validation", "test"), parts, strict=True)]
    assert max(map(abs, missed)) < 2, "by less than one patient"
    assert not {name[:6] for name in parts[0]} & {name[:6] for name in parts[2]}
    printed = [counts[part] for part in ("train", "validation", "test")]
    assert printed in [list(folds[0]) for folds in protocol("dsnet").split.values()]


@pytest.mark.parametrize(("name", "images"), [("dsnet-5", 50), ("dsnet-5-isbi", 30)])
def test_dsnet_table_5_is_a_cross_validation_of_four_folds(name, images):
    """ "We applied 4-folds cross-validation"; of the original images, before the augmentation that made 300 and 655."""
    plan = plan_of(name)
    for row, found in labelled(plan).items():
        assert sorted(values["fold"] for values in found.runs) == [0, 1, 2, 3], row
        assert {values["folds"] for values in found.runs} == {4}
        assert not any(values["split"] for values in found.runs)
    assert {row.name for row in plan.rows} == {"unet-2d", "unet3+", "inf-net", "medt", "dsnet"}
    tested = [case for _, test in k_fold([f"Case{n:02d}" for n in range(images)], 4, seed=0) for case in test]
    assert sorted(tested) == [f"Case{n:02d}" for n in range(images)]


@pytest.mark.parametrize("table", range(1, 9))
def test_msds_tables_of_liaoning_have_five_folds(table):
    """4.1.2: "using a 5-fold cross-validation method"; 4.1.1: 200 epochs of parts of 128³."""
    for row, found in labelled(plan_of(f"msds-{table}")).items():
        assert sorted(values["fold"] for values in found.runs) == [0, 1, 2, 3, 4], row
        assert {values["folds"] for values in found.runs} == {5}
        assert {values["data"] for values in found.runs} == {"data/lung1"}, "Liaoning's CT are not public"
    assert len({tuple(map(len, fold)) for fold in k_fold([f"LUNG1-{n:03d}" for n in range(220)], 5, seed=0)}) == 1


def lambdas(name: str) -> dict[str, tuple[float, float, float]]:
    """(λ1, λ2, λ3) of each row as its system has them; d(λ3 w²)/dw = 2 λ3 w, and a decay d adds d w."""
    found = {}
    for row, values in first_runs(name).items():
        with torch.device("meta"):
            system = system_of(values | SMALL)
        goal = system.objective
        found[row] = (goal.soft_weight, goal.local_weight, system.settings.weight_decay / 2)
    return found


@pytest.mark.parametrize("name", ["msds-lambdas", "msds-lambdas-phantom"])
def test_msds_lambdas_change_one_at_a_time_to_what_the_row_is_called(name):
    for row, values in lambdas(name).items():
        which, value = row.split(" = ")
        expected = {"λ1": 1.0, "λ2": 1.0, "λ3": 5e-6} | {which: float(value)}
        assert values == pytest.approx(tuple(expected.values())), row


def test_msds_lambdas_go_from_a_tenth_to_a_thousand_except_where_the_sweep_says_so():
    """4.1.1: "The range of each parameter varied from 10^-1 to 10^3"."""
    one, two, three = (set(values) for values in zip(*lambdas("msds-lambdas").values(), strict=True))
    assert one == two == RANGE
    assert {0.1, 1.0} <= three
    assert RANGE - three == {10.0, 100.0, 1000.0}
    assert "λ3 = 10, 100 and 1000 are not run" in " ".join((SWEEPS / "msds-lambdas.yml").read_text("utf-8").split())


def test_the_penalty_of_the_lowest_printed_lambda_3_outweighs_every_dice():
    """Eq. 5: hard, soft and local loss are at most 1 each; the third term at first weights."""
    weights = dsnotes.build("msds-unet").network.parameters()
    assert 0.1 * sum(float(p.detach().square().sum()) for p in weights) == pytest.approx(667, rel=0.01)


def as_published(name):
    """First runs of the rows without those that repeat one with a tenth of λ and η."""
    return {row: values for row, values in first_runs(name).items() if not values["preset"].endswith("-batch-norm")}


FIGURE_3 = {"U-Net", "U-Net with Up", "U-Net with Down", "U-Net-Deep", "U-Net-Auto"}


@pytest.mark.parametrize("name", ["mu-net-fig-3", "mu-net-fig-3-phantom"])
def test_mu_net_figure_3_is_one_u_net_under_five_supervisions(name):
    """4.6: "the different deep supervision mechanisms are respectively incorporated with U-Net"."""
    rows = as_published(name)
    assert set(rows) == FIGURE_3
    assert len({tuple(deployed(values)) for values in rows.values()}) == 1
    b = {"image": torch.randn(2, 1, 32, 32), "label": torch.randint(0, 2, (2, 32, 32))}
    terms, sizes = {}, {}
    for row, values in rows.items():
        system = system_of(values | SMALL)
        terms[row] = set(loss_terms(system.objective, system.network, b))
        outputs = system.network(b["image"])
        sizes[row] = {x.shape[-1] for x in (outputs.upsampled or outputs.side_outputs).values()}
    assert sizes["U-Net with Up"] == {32}, "intermediate predictions, up-sampled to the mask"
    assert sizes["U-Net with Down"] == {4, 8, 16}, "the mask, down-sampled to the intermediate predictions"
    assert sizes["U-Net"] == sizes["U-Net-Deep"] == sizes["U-Net-Auto"] == set(), "features, not predictions"
    assert terms["U-Net-Deep"] == {"output", "mask", "agree", "features"}, "Eq. 6"
    auto = {"output", "restored mask", "restored image", "agree restored", "restored features"}
    assert terms["U-Net-Auto"] == auto, "Eq. 7"
    assert terms["U-Net"] == {"cross-entropy", "dice"}, "Eq. 4"


@pytest.mark.parametrize("name", ["mu-net-fig-4", "mu-net-fig-4-phantom"])
def test_mu_net_figure_4_compares_the_tied_decoder_of_rec_with_a_variational_one(name):
    """4.7: "μ-Net using a tied-weight decoder (i.e., μ-Net-Rec) with μ-Net using VAE decoder"."""
    rows = as_published(name)
    assert rows["tied"]["system"] == "mu-net-rec"
    kinds = {}
    for row, values in rows.items():
        with torch.device("meta"):
            kinds[row] = {type(head) for head in system_of(values | SMALL).network.heads.values()}
    assert kinds == {"tied": {TiedDecoder}, "VAE": {VariationalDecoder}}
    assert deployed(rows["tied"]) == deployed(rows["VAE"])


SPLEEN = {"α": 3, "β": 5, "a": 2, "b": 2, "λ": 8, "η": 6}
EQUATION_13 = {"α": "output", "β": "mask", "a": "restored_mask", "b": "restored_image"}
EQUATION_13 |= {"λ": "features", "η": "restored_features"}


def test_mu_net_figure_5_moves_one_weight_at_a_time_from_1_to_10():
    """4.8: "incrementally from 2 to 9 with a step of 1, and the extreme weights 1 and 10"; γ = ξ = 1, ω = σ = 1."""
    seen: Counter = Counter()
    for row, values in first_runs("mu-net-fig-5").items():
        with torch.device("meta"):
            goal = asdict(system_of(values | SMALL).objective)
        expected = SPLEEN if row == "chosen" else SPLEEN | {row.split(" = ")[0]: int(row.split(" = ")[1])}
        assert {letter: goal[field] for letter, field in EQUATION_13.items()} == expected, row
        assert (goal["agree"], goal["agree_restored"], goal["levels"], goal["restored_levels"]) == (1, 1, None, None)
        seen[tuple(expected.values())] += 1
    assert set(seen.values()) == {1}, "no setting twice"
    assert len(seen) == 1 + 6 * 9, "six weights, nine values beside the chosen one"
