"""Rows of a sweep differ in what they are called and in what they name, and in nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dsnotes.data.case import Case
from dsnotes.papers import build, systems
from dsnotes.papers.protocol import LOSSES, OWN, on_output_alone, protocol, protocols, under
from dsnotes.runs.differences import differences, labelled, resolved, supervision, unfair
from dsnotes.runs.experiment import system_of
from dsnotes.runs.experiment_names import names_in, refusal
from dsnotes.runs.plan import open_plan
from dsnotes.supervision import loss_terms
from dsnotes.training.patch_size import fitting_patch

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"
each_sweep = pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yml")), ids=lambda path: path.stem)


@each_sweep
def test_rows_differ_in_nothing_that_no_row_names(path):
    assert unfair(open_plan(path)) == []


@each_sweep
def test_every_row_has_names_that_a_run_accepts(path):
    """As `dsnotes sweep` checks them before the first run; the data may not be there."""
    plan = open_plan(path)
    for values in plan.runs:
        names = names_in(plan.source, values)
        names.pop("data")
        assert refusal(json.dumps(names)) == ""


@pytest.mark.parametrize(
    "path", [path for path in sorted(SWEEPS.glob("*.yml")) if not path.stem.startswith("verdict")], ids=lambda p: p.stem
)
def test_every_row_of_a_table_is_run_under_its_papers_recipe(path):
    """Also where it is run under its own too."""
    plan = open_plan(path)
    rows: dict[str, set[str]] = {}
    for row in plan.rows:
        rows.setdefault(row.name, set()).add(row.runs[0]["recipe"])
    paper = path.stem.removesuffix("-phantom")
    for name, recipes in rows.items():
        assert any(recipe.split("-")[0] in (paper.split("-")[0], OWN) and recipe != OWN for recipe in recipes), name


@each_sweep
def test_the_patch_of_every_row_fits_its_network(path):
    """`benchmarks/full_size.py` makes two steps of each; this finds a wrong patch without a step."""
    case = Case("any", np.zeros((1, 1), np.float32), None, (1.0, 1.0))  # its size does not matter beside a patch
    for name, row in labelled(open_plan(path)).items():
        with torch.device("meta"):
            system = system_of(row.runs[0])
        assert fitting_patch(system, system.settings, [case], torch.device("cpu")) == system.settings.patch, name


def test_dry_run_tells_rows_apart_by_what_they_change():
    found = differences(open_plan(SWEEPS / "mss-2.yml"))
    assert list(found) == ["mss-unet", "classic-unet-3d"]
    assert found["mss-unet"] == {}
    assert set(found["classic-unet-3d"]) == {"postprocess", "supervision"}, "III-C: the three strategies"
    assert found["classic-unet-3d"]["postprocess"] == ("kidneys", "")
    ladder = differences(open_plan(SWEEPS / "mss-strategies.yml"))
    assert [set(row) for row in ladder.values()] == [
        set(), {"supervision"}, {"supervision"}, {"supervision"}, {"supervision", "postprocess"}, {"postprocess"},
    ]  # fmt: skip


def test_a_supervision_is_told_by_what_it_changes():
    found = differences(open_plan(SWEEPS / "msds-empty-phantom.yml"))
    (row,) = (row for row in found.values() if row)
    assert row == {"supervision": ("TwoPathway(sides='(1234)')", "TwoPathway(sides='(1234)', empty='printed')")}
    coarse = differences(open_plan(SWEEPS / "mss-5.yml"))["vb-net"]["supervision"]
    assert coarse == ("loss ce+dice", "TwoStageLoss()"), "no address of a function, which differs from run to run"


UNFAIR = """
notebook: {notebook}
parameters: {{data: lung, patch: [32, 32, 32], width: 4}}
rows:
  classic: {{system: unet-3d}}
  ours: {{system: msds-unet}}
"""


def test_what_the_tables_once_did_is_found(tmp_path):
    """Each row under its own paper's settings: another rate, another loss, other patches."""
    path = tmp_path / "some.yml"
    path.write_text(UNFAIR.format(notebook=SWEEPS.parent / "notebooks/80_experiment.py"))
    lines = unfair(open_plan(path))
    for what in ("epoch", "schedule", "weight_decay"):
        assert any(f"differ in {what}:" in line for line in lines), what


def test_a_baseline_on_another_loss_is_found(tmp_path):
    path = tmp_path / "some.yml"
    text = UNFAIR.format(notebook=SWEEPS.parent / "notebooks/80_experiment.py").replace(
        "width: 4", "width: 4, recipe: msds"
    )
    path.write_text(text.replace("msds-unet}", "v-net, settings: {lr: 0.1}}"))
    assert unfair(open_plan(path)) == [], "it names the rate"
    path.write_text(text.replace("system: msds-unet", "system: v-net") + "  third: {system: unet-3d, loss: bce}\n")
    assert unfair(open_plan(path)) == [], "it names the loss"
    plan = open_plan(path)
    assert differences(plan)["third"] == {"supervision": ("loss msds-dice", "loss bce")}
    path.write_text(
        UNFAIR.format(notebook=SWEEPS.parent / "notebooks/80_experiment.py")
        .replace("{system: unet-3d}", "{system: nnu-net, options: {supervision: ce}}")
        .replace("{system: msds-unet}", "{system: nnu-net, options: {supervision: none}}")
    )
    assert unfair(open_plan(path)) == [], "it chooses the supervision"


def test_table_1s_3d_unet_with_resnet_is_table_3s_row_without_deep_supervision():
    """Every figure is the same in the paper: Dice .649, sensitivity .705, F1 .641."""
    one, three = (labelled(open_plan(SWEEPS / f"msds-{n}.yml")) for n in (1, 3))
    assert one["res-unet-3d"].runs == three["none"].runs
    with torch.device("meta"):
        plain, none = build("res-unet-3d"), build("msds-unet", objective="none")
    shapes = [[p.shape for p in system.network.parameters()] for system in (plain, none)]
    assert shapes[0] == shapes[1]


def test_unet_plus_plus_has_the_width_of_mu_nets_other_networks():
    rows = labelled(open_plan(SWEEPS / "mu-net-4.yml"))
    with torch.device("meta"):
        counts = {
            name: sum(p.numel() for p in system_of(rows[name].runs[0]).network.parameters())
            for name in ("unet++", "unet-deep++")
        }
    assert counts["unet++"] == pytest.approx(counts["unet-deep++"], rel=1e-4), "imp.++ compares equal networks"


PRINTED = {  # what the papers print of their training, read from them and not from the files
    "mss": {"patch": (48, 192, 192), "batch": 8, "iterations": 250, "lr": 3e-4, "factor": 0.2, "patience": 30,
            "stop_patience": 50, "stop_lr": None, "amsgrad": False, "weight_decay": 0.0, "foreground": 0, "clip": None,
            "loss": "cross-entropy + 1 - dice"},  # II-E, of nnU-Net; III-C: the 3D U-Net lacks the strategies alone
    "mss-official-code": {"batch": 8, "iterations": 250, "lr": 3e-4, "loss": "cross-entropy + 1 - dice"},
    "msds": {"patch": (128, 128, 128), "batch": 1, "epochs": 200, "lr": 1e-3, "factor": 0.1, "step_every": 50,
             "epoch": "grid", "iterations": None, "clip": None, "foreground": 0, "loss": "1 - dice"},
    "msds-2d": {"batch": 1, "epochs": 200, "lr": 1e-3, "factor": 0.1, "step_every": 50, "loss": "1 - dice"},
    "dsms": {"epoch": "slices", "iterations": None, "clip": None, "loss": "cross-entropy"},  # Eq. 1
    "mu-net-brats": {"batch": 4, "patch": (240, 240), "lr": 3e-4, "factor": 0.9, "step_every": 3, "epoch": "slices",
                     "iterations": None, "positive_only": False, "clip": None, "loss": "cross-entropy / 2 + 1 - dice"},
    "mu-net-cardiac": {"batch": 2, "patch": (320, 320), "positive_only": True, "loss": "cross-entropy / 2 + 1 - dice"},
    "mu-net-spleen": {"batch": 1, "patch": (480, 480), "positive_only": True, "lr": 3e-4,
                      "loss": "cross-entropy / 2 + 1 - dice"},  # Eq. 4
    "mu-net-liver": {"patch": (480, 480), "positive_only": False, "loss": "cross-entropy / 2 + 1 - dice"},
    "dsnet": {"batch": 1, "epochs": 60, "lr": 2e-4, "schedule": "poly", "patch": (64, 64), "clip": None,
              "loss": "1 - dice"},  # "the classic UNet trained with DICE loss"
}  # fmt: skip


@pytest.mark.parametrize("name", protocols())
def test_a_recipe_is_what_the_paper_prints(name):
    settings = vars(protocol(name).settings)
    printed = {key: value for key, value in PRINTED[name].items() if key != "loss"}
    assert {key: settings[key] for key in printed} == printed


def printed_loss(name: str, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """PRINTED's words as an equation; sums per image, but MSS U-Net's over the batch and with squares (Eqs. 6, 7)."""
    y, p = label[:, None].double(), logits.double().sigmoid()
    over = (0, 1, 2, 3) if name.startswith("mss") else (1, 2, 3)
    p2, y2 = (p**2, y**2) if name.startswith("mss") else (p, y)
    dice = (2 * (p * y).sum(over) / (p2.sum(over) + y2.sum(over))).mean()
    entropy = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    return {
        "cross-entropy": entropy,
        "1 - dice": 1 - dice,
        "cross-entropy + 1 - dice": entropy + 1 - dice,
        "cross-entropy / 2 + 1 - dice": entropy / 2 + 1 - dice,
    }[PRINTED[name]["loss"]]


@pytest.mark.parametrize("name", protocols())
def test_a_network_without_supervision_of_its_own_learns_from_the_papers_loss(name):
    """A U-Net under the recipe, on images with a target, whatever its own paper trains it with."""
    system = under(build("unet-2d", width=2), name)
    b = {"image": torch.randn(2, 1, 32, 32), "label": torch.randint(0, 2, (2, 32, 32))}
    logits = system.network.eval()(b["image"]).logits
    found = sum(loss_terms(system.objective, system.network, b).values())
    torch.testing.assert_close(found.double(), printed_loss(name, logits, b["label"]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sweep", ["dsnet-3", "dsnet-3-lnsm", "dsnet-3-phantom"])
def test_the_unet_of_dsnets_table_3_is_trained_with_dice(sweep):
    """ "We use the classic UNet trained with DICE loss as the baseline"."""
    system = system_of(labelled(open_plan(SWEEPS / f"{sweep}.yml"))["unet-2d"].runs[0] | {"width": 2})
    b = {"image": torch.randn(2, 1, 32, 32), "label": torch.randint(0, 2, (2, 32, 32))}
    (found,) = loss_terms(system.objective, system.network.eval(), b).values()
    p, y = system.network(b["image"]).logits.sigmoid(), b["label"][:, None]
    expected = 1 - (2 * (p * y).sum((1, 2, 3)) / (p.sum((1, 2, 3)) + y.sum((1, 2, 3)))).mean()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", protocols())
def test_every_value_of_a_recipe_stands_beside_what_the_paper_says(name):
    told = protocol(name)
    fields = {key for key, value in vars(told.settings).items() if value != vars(type(told.settings)())[key]}
    parts = {"schedule": ("step_every", "factor", "patience", "power"), "stop": ("stop_patience",)}
    covered = set(told.said) | {part for whole, more in parts.items() if whole in told.said for part in more}
    covered |= {"betas"} if "beta" in told.said["optimiser"] else set()
    assert fields <= covered
    assert told.loss in LOSSES


def test_the_release_of_mss_unet_adds_what_the_paper_does_not_say():
    paper, code = (vars(protocol(name).settings) for name in ("mss", "mss-official-code"))
    assert {key: code[key] for key in paper if paper[key] != code[key]} == {
        "amsgrad": True, "weight_decay": 3e-5, "foreground": 1 / 3, "stop_lr": 1e-6,
    }  # fmt: skip
    assert vars(build("mss-unet", width=4, preset="official_code").settings) == code


@pytest.mark.parametrize("name", [n for n in systems() if n not in ("srgan",)])
def test_a_system_of_a_loss_alone_takes_the_tables_loss_and_others_keep_their_supervision(name):
    with torch.device("meta"):
        system = build(name, width=4)
    for recipe in ("msds", "mu-net-brats"):
        fair = under(system, recipe)
        assert fair.settings == protocol(recipe).settings
        if on_output_alone(system):
            assert supervision(fair) == f"loss {protocol(recipe).loss}"
        else:
            assert fair.objective == system.objective
    assert under(system, OWN) == system


def test_wrong_names_are_answered_with_the_known_ones():
    system = build("unet-2d", width=4)
    with pytest.raises(ValueError, match=r"recipe='mms' is unknown. Choose one of mss"):
        under(system, "mms")
    with pytest.raises(ValueError, match=r"loss='dise' is unknown. Choose one of 'ce\+dice', 'dice'"):
        under(system, "mss", "dise")


def test_no_difference_hides_in_a_parameter_of_the_notebook():
    values = open_plan(SWEEPS / "mss-2.yml").rows[0].runs[0]
    whole = resolved(values)
    for name, other in {
        "mirror": False,
        "overlap": 0.25,
        "normalise": "image",
        "eps": 1.0,
        "regions": {"a": [1]},
    }.items():
        assert resolved(values | {name: other}) != whole, name
    for name, other in {"batch": 3, "lr": 1e-5, "loss": "bce", "settings": {"clip": 1.0}, "augment": False}.items():
        system = values | {"system": "unet-3d"}
        changed = resolved(system | {name: other}) != resolved(system)
        assert changed or name == "augment", name  # False is the notebook's default: the recipe decides
