"""MSDS-UNet's two pathways: the printed losses with their signs mended, and what reaches which part."""

import pytest
import torch
from torch.nn import functional

from dsnotes.networks.msds_unet import msds_backbone
from dsnotes.networks.unet import UNet
from dsnotes.supervision import loss_terms, supervise
from dsnotes.supervision.two_pathway import ALPHA, TwoPathway, average, distance


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def batch(dims=2, size=32, classes=2):
    g = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(2, 1, *(size,) * dims, generator=g),
        "label": torch.randint(0, classes, (2, *(size,) * dims), generator=g),
    }


def small(**settings):
    torch.manual_seed(0)
    objective = TwoPathway(**settings)
    return supervise(UNet(width=2), objective), objective


def test_parameter_counts_of_the_paper():
    with torch.device("meta"):
        backbone = msds_backbone()
        assert parameters(backbone) == 26_379_781
        assert parameters(supervise(backbone, TwoPathway())) == 26_452_994


def test_distance_is_one_minus_equation_1_on_binary_masks():
    """f = TP / (TP + (FN + FP) / 2), a similarity in print; the loss is what is missing to 1."""
    p, y = (torch.rand(1, 1, 8, 8) > 0.5).float(), (torch.rand(1, 1, 8, 8) > 0.5).float()
    tp, fp, fn = (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()
    expected = 1 - tp / (tp + 0.5 * (fn + fp))
    torch.testing.assert_close(distance((p * 2 - 1) * 100, y), expected, atol=1e-5, rtol=1e-5)


def test_terms_are_equations_2_to_5():
    net, objective = small()
    b = batch()
    outputs, terms = net(b["image"]), loss_terms(objective, net, b)
    y, alpha = b["label"][:, None].float(), {"stride1": 0.4, "stride2": 0.2, "stride4": 0.2, "stride8": 0.2}
    fused = sum(a * outputs.upsampled[name] for name, a in alpha.items())
    expected = {"soft": distance(fused, y)}
    for name, a in alpha.items():
        coarse = functional.interpolate(y, outputs.side_outputs[name].shape[2:], mode="nearest-exact")
        expected[f"hard {name}"] = a * distance(outputs.upsampled[name], y)
        expected[f"side {name}"] = a * distance(outputs.side_outputs[name], coarse)
    assert terms.keys() == expected.keys()
    for name in terms:
        torch.testing.assert_close(terms[name], expected[name])


def test_lambdas_scale_their_terms_alone():
    net, one = small()
    b = batch()
    other = TwoPathway(soft_weight=3.0, local_weight=5.0)
    factors = {"soft": 3.0, "side": 5.0, "hard": 1.0}
    for name, term in loss_terms(other, net, b).items():
        torch.testing.assert_close(term, factors[name.split()[0]] * loss_terms(one, net, b)[name])


def test_soft_fusion_of_one_side_is_that_sides_loss():
    net, objective = small(objective="hard+soft", sides="(4)")
    terms = loss_terms(objective, net, batch())
    torch.testing.assert_close(terms["soft"], terms["hard stride1"])


@pytest.mark.parametrize(
    ("objective", "parts"),
    [
        ("none", {"output"}),
        ("hard", {"hard"}),
        ("soft", {"soft"}),
        ("side", {"side"}),
        ("hard+soft", {"hard", "soft"}),
        ("all", {"hard", "soft", "side"}),
    ],
)
def test_the_objectives_of_table_3(objective, parts):
    net, two_pathway = small(objective=objective)
    terms = loss_terms(two_pathway, net, batch())
    assert {name.split()[0] for name in terms} == parts
    sum(terms.values()).backward()
    assert all(p.grad is not None for p in net.parameters())  # no head is built that is not trained


def test_sides_alone_leave_no_output_untaught():
    """Side 4 is the output; where it is left out of the sides, nothing else would ask the output that is deployed."""
    net, objective = small(objective="side", sides="(123)", alpha=(0.4, 0.3, 0.3))
    assert {name.split()[0] for name in loss_terms(objective, net, batch())} == {"side", "output"}


@pytest.mark.parametrize("sides", ALPHA)
def test_the_side_subsets_of_tables_4_and_5(sides):
    net, objective = small(sides=f"({sides})")
    levels = [f"stride{2 ** (4 - int(number))}" for number in reversed(sides)]
    outputs = net(batch()["image"])
    assert list(outputs.upsampled) == list(outputs.side_outputs) == levels
    assert all(side.shape == (2, 1, 32, 32) for side in outputs.upsampled.values())
    assert list(objective.weights(net.backbone)) == levels
    assert sum(objective.weights(net.backbone).values()) == pytest.approx(1)


def test_local_heads_are_taught_by_the_local_loss_alone():
    net, objective = small()
    terms = loss_terms(objective, net, batch())
    sum(term for name, term in terms.items() if not name.startswith("side")).backward()
    assert all(p.grad is None for p in net.heads["local"].parameters())


def test_one_sides_hard_loss_reaches_its_own_and_coarser_blocks():
    net, objective = small()
    loss_terms(objective, net, batch())["hard stride4"].backward()
    assert [any(p.grad is not None for p in block.parameters()) for block in net.backbone.decoder] == [
        False,
        False,
        True,
        True,
    ]


def test_deployment_is_the_mean_of_the_raised_maps_and_their_fusion():
    net, _ = small()
    image = batch()["image"]
    net.eval()
    outputs = net(image)
    maps = [z.sigmoid() for z in outputs.upsampled.values()]
    fused = sum(a * z for a, z in zip((0.4, 0.2, 0.2, 0.2), outputs.upsampled.values(), strict=True)).sigmoid()
    torch.testing.assert_close(average(outputs), sum([*maps, fused]) / 5)
    deployed = net.deployed()
    assert list(deployed.heads) == ["global"]  # the local branch is dropped
    assert torch.equal(average(deployed(image)), average(outputs))


@pytest.mark.parametrize(("objective", "maps"), [("hard", 4), ("soft", 1), ("hard+soft", 5), ("all", 5), ("side", 0)])
def test_deployment_averages_what_was_taught_and_nothing_else(objective, maps):
    """A loss on the deployed map reaches only what the objective's own terms reach; untaught maps are left out."""
    net, goal = small(objective=objective)
    outputs = net(batch()["image"])
    deployed = average(outputs, parts=goal.parts)
    z = torch.stack(list(outputs.upsampled.values())) if maps else None
    alpha = torch.tensor([0.4, 0.2, 0.2, 0.2]).view(4, 1, 1, 1, 1)
    expected = {
        4: lambda: z.sigmoid().mean(0),
        1: lambda: (alpha * z).sum(0).sigmoid(),
        5: lambda: (z.sigmoid().sum(0) + (alpha * z).sum(0).sigmoid()) / 5,
        0: lambda: outputs.logits.sigmoid(),
    }[maps]
    torch.testing.assert_close(deployed, expected())


@pytest.mark.parametrize("empty", ["background", "printed"])
def test_a_patch_without_tumour_teaches_unless_the_printed_loss_is_asked_for(empty):
    """TP / (TP + (FN + FP) / 2) is 0 for every answer where there is no tumour: its gradient is nothing."""
    net, objective = small(empty=empty, objective="hard")
    b = batch()
    with_tumour = gradient(net, objective, b)
    without = gradient(net, objective, {**b, "label": torch.zeros_like(b["label"])})
    assert with_tumour > 1e-2
    assert (without > 0.1 * with_tumour) == (empty == "background")
    assert (without < 1e-3 * with_tumour) == (empty == "printed")


def gradient(net, objective, b):
    net.zero_grad()
    sum(loss_terms(objective, net, b).values()).backward()
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).norm()


def test_the_loss_without_tumour_is_the_dice_of_the_background():
    z, nothing = torch.randn(1, 1, 6, 6), torch.zeros(1, 1, 6, 6)
    q = 1 - z.sigmoid()
    expected = 1 - 2 * q.sum() / (q.sum() + 36)
    torch.testing.assert_close(distance(z, nothing, empty="background"), expected)
    torch.testing.assert_close(distance(z, nothing), torch.tensor(1.0), atol=1e-5, rtol=0)
    one = nothing.clone()
    one[0, 0, 0, 0] = 1
    torch.testing.assert_close(distance(z, one, empty="background"), distance(z, one))


def test_the_other_reading_of_the_numbers_turns_the_sides_round():
    net, objective = small(numbering="1 is the output", sides="(34)")
    assert objective.weights(net.backbone) == {"stride4": 0.2, "stride8": 0.8}
    assert list(net(batch()["image"]).upsampled) == ["stride4", "stride8"]
    _, all_sides = small(numbering="1 is the output")
    assert list(all_sides.weights(net.backbone).values()) == [0.2, 0.2, 0.2, 0.4]
    local, sides = small(numbering="1 is the output", sides="(34)", objective="side")
    assert "output" in loss_terms(sides, local, batch())  # nothing else would reach what is deployed


def test_probabilities_summed_and_squashed_again_could_never_say_background():
    """Eq. 4 as printed: g(Σ α p) with p in [0, 1] and Σ α = 1 lies in [σ(0), σ(1)] = [.5, .731]."""
    p = torch.tensor([0.0, 1.0])
    assert p.sigmoid().tolist() == pytest.approx([0.5, 0.731], abs=1e-3)


@pytest.mark.parametrize(("dims", "classes"), [(2, 3), (3, 2)])
def test_on_other_backbones(dims, classes):
    objective = TwoPathway(reduction="area")
    net = supervise(UNet(dims=dims, classes=classes, width=2), objective)
    sum(loss_terms(objective, net, batch(dims, 16, classes)).values()).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_an_empty_coarse_target_is_survived():
    net, objective = small()
    b = batch()
    b["label"].zero_()
    b["label"][:, 1, 1] = 1  # gone at every stride above 1
    total = sum(loss_terms(objective, net, b).values())
    total.backward()
    assert total.isfinite()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"objective": "fusion"}, "objective='fusion' is unknown. Choose one of"),
        ({"empty": "none"}, "empty='none' is unknown. Choose one of"),
        ({"numbering": "1234"}, "numbering='1234' is unknown. Choose one of"),
        ({"sides": "(12)"}, r"sides='\(12\)' .*Use one of .* or pass alpha="),
    ],
)
def test_wrong_settings_are_answered(settings, answer):
    with pytest.raises(ValueError, match=answer):
        TwoPathway(**settings)


def test_more_sides_than_levels_are_refused():
    with pytest.raises(ValueError, match=r"sides='1234' needs 4 decoder levels, this backbone has 2"):
        supervise(UNet(width=2, depth=3), TwoPathway())
