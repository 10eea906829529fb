"""Every system by name: builds, trains a step, predicts, survives a save; and what a wrong name is answered with."""

import inspect
import io
from itertools import pairwise

import pytest
import torch

from dsnotes.networks.voxelwise import Patchwise
from dsnotes.papers import build, systems
from dsnotes.runs.paper_tables import published, tables
from dsnotes.runs.size import listing
from dsnotes.supervision import loss_terms


def size_for(backbone):
    """The smallest image with which a network still has something to normalise where it is deepest."""
    if hasattr(backbone, "size"):
        return (backbone.size,) * 2
    if isinstance(backbone, Patchwise):
        return (2, 6, 6)  # it goes through as many patches as there are voxels
    return tuple(max(2 * s if s < 64 else s, 16) for s in backbone.stride)


@pytest.mark.parametrize("name", systems())
def test_a_system_trains_a_step_predicts_and_survives_a_save(name):
    torch.manual_seed(0)
    system = build(name, width=4)
    backbone = system.network.backbone
    size = (backbone.size,) * 2 if hasattr(backbone, "size") else size_for(backbone)
    batch = {"image": torch.randn(2, 1, *size), "label": torch.randint(0, 2, (2, *size))}
    batch["soft"] = torch.rand(2, 1, *size)
    terms = loss_terms(system.objective, system.network, batch)
    sum(terms.values()).backward()
    assert all(term.ndim == 0 and term.isfinite() for term in terms.values())
    assert all(p.grad is not None for p in system.network.parameters() if p.requires_grad)
    probabilities = system.probabilities(batch["image"])
    assert probabilities.shape == (2, 1, *size)
    assert 0 <= probabilities.min() <= probabilities.max() <= 1
    saved = io.BytesIO()
    torch.save(system.network.state_dict(), saved)
    saved.seek(0)
    again = build(name, width=4)
    again.network.load_state_dict(torch.load(saved))
    assert torch.equal(again.probabilities(batch["image"]), probabilities)


@pytest.mark.parametrize("name", systems())
def test_every_system_gives_its_feature_maps_finest_first(name):
    with torch.device("meta"):  # shapes without content
        system = build(name, width=4)
        outputs = system.network.eval()(torch.empty(1, 1, *size_for(system.network.backbone)))
    sizes = {at: tuple(maps.shape[2:]) for at, maps in outputs.features.items()}
    order = list(sizes.values())
    assert all(all(a >= b for a, b in zip(*two, strict=True)) for two in pairwise(order)), sizes
    levels = [level.stride for level in system.network.backbone.sides().values()]
    assert levels == sorted(levels), "so are the levels that heads read"


def test_systems_name_their_tables_and_can_be_asked_for_one():
    assert "msds-1" in systems()["res-unet-3d"]["tables"]
    assert "unet-3d" in systems("msds-1")
    assert "unet-2d" in repr(systems())
    assert "<code>unet-2d</code>" in systems()._repr_html_()
    with pytest.raises(ValueError, match=r"table 'msds-99'; the nearest are msds-\d"):
        systems("msds-99")


def test_every_system_names_the_papers_that_have_it():
    stems = {stem for stem, _ in tables().values()} | {"nnu_net"}  # whose tables hold none of our systems
    for name, row in systems().items():
        assert row["papers"], name
        assert set(row["papers"]) <= stems, name
        of_its_tables = {tables()[table][0] for table in row["tables"]}
        assert of_its_tables <= set(row["papers"]), name
    for name in ("anam-net", "kcm-unet", "mscm-unet", "mu-net-vae", "unet-up", "unet-down"):
        assert systems()[name]["tables"] == ()
    assert systems()["anam-net"]["papers"] == ("msds_unet",)
    assert systems()["fcn"]["papers"] == ("dsms_unet", "mu_net")
    assert "<td>dsms_unet, mu_net</td>" in systems()._repr_html_()
    assert "anam-net" in next(line for line in repr(systems()).splitlines() if line.endswith("  msds_unet"))


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("unet2d", "unet-2d"),
        ("MSDS-UNET", "msds-unet"),
        ("MSS-UNet", "mss-unet"),
        ("DSNet", "dsnet"),
        ("Mu-Net", "mu-net-"),
        ("µ-Net Hyb", "mu-net-hyb"),
        ("MU_NET_SEG", "mu-net-seg"),
        ("zzzzz", "[a-z]+"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong, nearest):
    answer = rf"no system is called '{wrong}'. The nearest are {nearest}.*, .*, .*\. dsnotes.systems\(\) lists"
    with pytest.raises(ValueError, match=answer):
        build(wrong)


@pytest.mark.parametrize(
    ("wrong", "error", "answer"),
    [
        ({"name": 3}, ValueError, "no system is called 3. The nearest are"),
        ({"name": ["fcn"]}, ValueError, r"no system is called \['fcn'\]. The nearest are fcn"),
        ({"width": "8"}, TypeError, "width='8' is not an integer. Pass one, for instance width=8."),
        ({"width": 8.0}, TypeError, "width=8.0 is not an integer. Pass one, for instance width=8."),
        ({"classes": 2.5}, TypeError, "classes=2.5 is not an integer. Pass one, for instance classes=2."),
        ({"in_channels": None}, TypeError, "in_channels=None is not an integer. Pass one, for instance in_channels=1"),
        ({"dims": "3"}, TypeError, "dims='3' is not an integer. Pass one, for instance dims=2."),
        ({"dims": 4}, ValueError, "dims=4, but images are 2-D or 3-D. Pass dims=2 or dims=3."),
    ],
)
def test_what_is_no_name_and_no_whole_number_is_answered(wrong, error, answer):
    """Called as outside of tests, where nothing checks annotations."""
    with pytest.raises(error, match=answer):
        inspect.unwrap(build)(**{"name": "unet-2d", **wrong})


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        ({"classes": 1}, "classes=1, .*a binary task has classes=2"),
        ({"dims": 4}, "dims=4, but images are 2-D or 3-D"),
        ({"width": 0}, "width=0, .* at least 1. Try width=8"),
        ({"in_channels": 0}, "in_channels=0"),
    ],
)
def test_impossible_sizes_are_answered(wrong, answer):
    with pytest.raises(ValueError, match=answer):
        build("unet-2d", **wrong)


def test_an_unknown_option_is_answered_with_the_offered_ones():
    with pytest.raises(
        TypeError, match=r"unet-2d has no option norms. Its options: norm \('batch', 'instance' or 'none'\)"
    ):
        build("unet-2d", norms="batch")


@pytest.mark.parametrize("table", tables())
def test_every_row_of_every_table_is_filled_or_says_why_not(table):
    paper = published(table)
    rows, unfilled = set(paper.table.rows), paper.table.unfilled
    assert set(unfilled) <= rows
    assert all(unfilled.values())
    assert rows - set(paper.fillers) == set(unfilled), "a row names a system, or says why none fills it"
    fill = {filler.system for filler in paper.fillers.values()}
    assert fill <= set(systems(table) if fill else ()), "the systems of a table's rows say so themselves"


@pytest.mark.parametrize("table", tables())
def test_the_command_lists_what_fills_every_table_and_what_nothing_fills(table):
    """`dsnotes systems --table` of each: no gap that is not accounted for, tables of datasets too."""
    paper, lines = published(table), list(listing(table, count=False))[1:]
    shown = {line.split()[0] for line in lines if "no system:" not in line}
    fill = {filler.system for filler in paper.fillers.values()}
    # MSDS-UNet without deep supervision is the residual U-Net: the row is filled by the first, and lists the second.
    assert fill <= shown <= fill | {"res-unet-3d"}
    told = {tuple(line.split(" no system: ")) for line in lines if "no system:" in line}
    assert {(row.strip(), why) for row, why in told} == set(paper.table.unfilled.items())
