"""MSDS-UNet as systems: counts, deployment, GradNorm in the loop, and what its tables say of themselves."""

import io
from dataclasses import replace
from functools import partial

import pytest
import torch

from dsnotes.networks.unet import UNet
from dsnotes.papers import build, msds_unet
from dsnotes.supervision import MultiScale, loss_terms, supervise
from dsnotes.training.gradnorm_step import GradNormStep
from dsnotes.training.settings import Settings
from dsnotes.training.system import System


def batch(dims=2, size=32, n=2):
    g = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(n, 1, *(size,) * dims, generator=g),
        "label": torch.randint(0, 2, (n, *(size,) * dims), generator=g),
    }


def small(name="msds-unet", **options):
    return build(name, width=4, dims=2, **options)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts():
    with torch.device("meta"):
        assert parameters(build("res-unet-3d").network) == 26_379_781
        assert parameters(build("msds-unet").network) == 26_452_994
        assert parameters(build("msds-unet-gm").network) == 26_452_994


def test_deployment_is_the_ensemble_and_not_the_output():
    system, image = small(), batch()["image"]
    p = system.probabilities(image)
    assert not torch.equal(p, system.network(image).logits.sigmoid())
    alone = small(sides="(4)", objective="none")
    assert torch.equal(alone.probabilities(image), alone.network(image).logits.sigmoid())


def steps(system, n=3, settings=None, **made):
    step = system.make_step(system, settings or replace(system.settings, lr=1e-3), **made)
    return step, [step(batch()) for _ in range(n)]


def test_gradnorm_moves_alpha_and_deployment_uses_it():
    system = small("msds-unet-gm")
    step, records = steps(system)
    alpha = system.network.heads["global"].alpha
    assert torch.equal(alpha, step.balance.weights)
    assert alpha.sum().item() == pytest.approx(1)
    assert not torch.allclose(alpha, torch.full((4,), 0.25))
    sides = [f"stride{s}" for s in (1, 2, 4, 8)]
    for what in ("alpha", "pull", "rate"):
        assert [name for name in records[0] if name.startswith(f"{what} ")] == [f"{what} {side}" for side in sides]
    assert [records[0][f"rate {side}"].item() for side in sides] == [1, 1, 1, 1]  # L(0) / L(0)
    assert [records[2][f"alpha {side}"] for side in sides] == list(alpha)
    first = records[0]["hard stride2"] + records[0]["side stride2"]
    assert records[1]["rate stride2"] == pytest.approx(
        ((records[1]["hard stride2"] + records[1]["side stride2"]) / records[0]["alpha stride2"] / (4 * first)).item()
    )


def test_the_pull_of_each_side_is_the_gradient_norm_at_the_shared_layer():
    """G_m = ‖∇_Ws α_m L_m‖ with L_m = d(y, z_m) + λ2 d(y_m, l_m), against a backward pass of its own for each m."""
    system = small("msds-unet-gm")
    step = system.make_step(system, system.settings)
    seen = {}
    step.balance.update = lambda losses, norms: (
        seen.update(losses=losses, norms=norms) or {"pull": norms, "rate": norms}
    )
    before = {name: p.clone() for name, p in system.network.state_dict().items()}
    step(batch())
    system.network.load_state_dict(before)
    system.network.train()
    outputs = system.network(batch()["image"])
    sides = system.objective.side_losses(outputs, batch())
    for m, name in enumerate(outputs.upsampled):
        loss = sides["hard"][name] + sides["side"][name]
        (grad,) = torch.autograd.grad(loss, step.shared, retain_graph=True)
        torch.testing.assert_close(seen["losses"][m], loss.detach())
        torch.testing.assert_close(seen["norms"][m], grad.norm(), rtol=1e-4, atol=1e-6)


def test_gradnorm_leaves_the_networks_own_gradient_alone():
    """The step's gradient is that of Σ α L + soft with α a constant."""
    system = small("msds-unet-gm")
    step = system.make_step(system, replace(system.settings, clip=None, lr=1e-12))
    step(batch())
    got = [p.grad.clone() for p in system.network.parameters()]
    system.network.heads["global"].alpha.fill_(0.25)
    expected = torch.autograd.grad(
        sum(loss_terms(system.objective, system.network, batch()).values()), system.network.parameters()
    )
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_micro_batches_balance_as_the_joint_batch_does():
    """Instance norm and losses that are means over samples: two halves must give what the whole gives."""
    seen = {}
    for accumulate in (1, 2):
        torch.manual_seed(0)
        system = small("msds-unet-gm", norm="instance", objective="hard")
        step = system.make_step(system, replace(system.settings, accumulate=accumulate))
        looked = {"pull": torch.zeros(4), "rate": torch.zeros(4)}
        step.balance.update = lambda losses, norms, to=accumulate, out=looked: seen.update({to: (losses, norms)}) or out
        step(batch())
    for one, two in zip(seen[1], seen[2], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_gradnorm_balances_any_supervision_of_several_terms():
    objective = MultiScale(weights=(1.0, 1.0, 1.0, 1.0))
    system = System("any", supervise(UNet(width=4), objective), objective, Settings(), make_step=GradNormStep)
    step, records = steps(system)
    assert step.balance.tasks == ("stride1", "stride2", "stride4", "stride8")
    plain = loss_terms(objective, supervise(UNet(width=4), objective), batch())
    assert records[0]["loss"] < sum(plain.values())  # weighed to the sum 1


def test_a_checkpoint_of_the_step_goes_on_exactly():
    saved, ended = None, []
    for resumed in (False, True):
        torch.manual_seed(0)
        system = small("msds-unet-gm")
        step = system.make_step(system, system.settings)
        for i in range(4):
            if i == 2 and not resumed:
                state = {"network": system.network, "net": step.optimisers["network"], "step": step}
                torch.save({name: part.state_dict() for name, part in state.items()}, saved := io.BytesIO())
            if i == 2 and resumed:
                saved.seek(0)
                found = torch.load(saved, weights_only=False)
                system = small("msds-unet-gm")
                step = system.make_step(system, system.settings)
                system.network.load_state_dict(found["network"])
                step.optimisers["network"].load_state_dict(found["net"])
                step.load_state_dict(found["step"])
            step(batch())
        ended.append(torch.cat([p.detach().flatten() for p in system.network.parameters()]))
    assert torch.equal(*ended)


def test_the_shared_layer_is_the_coarsest_decoder_blocks_last_convolution():
    system = small("msds-unet-gm")
    step = system.make_step(system, system.settings)
    assert step.shared is system.network.get_parameter("backbone.decoder.3.body.1.weight")
    with pytest.raises(ValueError, match="none called 'decoder'. Name a convolution"):
        GradNormStep(system, system.settings, shared="decoder")


def test_start_at_zero_as_printed_is_refused():
    system = replace(small("msds-unet-gm"), make_step=partial(GradNormStep, start=(0.0,) * 4))
    with pytest.raises(ValueError, match="Every task needs a positive weight.*start=None"):
        system.make_step(system, system.settings)


def test_an_objective_without_alpha_is_refused():
    with pytest.raises(ValueError, match="objective='side' leaves GradNorm nothing to balance"):
        small("msds-unet-gm", objective="side")


def test_the_settings_are_the_papers():
    s = msds_unet.SETTINGS
    assert (s.lr, s.batch, s.epochs, s.patch) == (1e-3, 1, 200, (128, 128, 128))
    assert (s.schedule, s.step_every, s.factor) == ("step", 50, 0.1)


def test_the_tables_are_whole_and_their_slips_are_there():
    tables = msds_unet.TABLES
    assert list(tables) == list(range(1, 15))
    for table in tables.values():
        assert all(len(row) == len(table.columns) for row in table.rows.values())
    assert tables[3].rows["none"][3] > 0.05  # starred as significant
    assert tables[5].rows["(124)"][0] > tables[4].rows["(1234)"][0]
    dice, sensitivity, precision, f1 = tables[10].rows["msds-unet"][:4]
    assert 2 * sensitivity * precision / (sensitivity + precision) == pytest.approx(0.727, abs=5e-4) != f1
    assert dice != f1
    for fold in (1, 2, 3):  # every fold splits the same 422 patients and the same patches
        parts = [tables[9].rows[f"fold {fold} {part}"] for part in ("train", "validation", "test")]
        assert [sum(column) for column in zip(*parts, strict=True)] == [422, 7232, 43273]


def test_instance_norm_reaches_every_part():
    kinds = {type(module) for module in small(norm="instance").network.modules()}
    assert not any(issubclass(kind, torch.nn.modules.batchnorm._BatchNorm) for kind in kinds)
    assert any(issubclass(kind, torch.nn.modules.instancenorm._InstanceNorm) for kind in kinds)


def test_patches_come_from_anywhere():
    """Table 9 counts patches with and without a tumour, one to six: none is forced to hold one."""
    settings = build("msds-unet", width=2).settings
    assert (settings.batch, settings.foreground) == (1, 0)
