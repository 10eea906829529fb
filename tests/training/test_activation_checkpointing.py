"""Blocks that are computed again change neither a gradient nor a statistic by a bit, and hold less memory."""

import copy

import pytest
import torch
from torch import nn

from dsnotes.networks.unet import UNet
from dsnotes.papers import build
from dsnotes.training.activation_checkpointing import stages
from dsnotes.training.fit import fit
from dsnotes.training.memory import Meter
from dsnotes.training.precision import Terms

SYSTEMS = {
    "msds-unet": {},  # two pathways, batch norm
    "msds-unet-gm": {},  # several passes back over one pass forward
    "mss-unet": {"patch": (16, 32, 32), "spacing": (3.0, 1.0, 1.0)},
    "v-net": {},
    "mu-net-hyb": {},  # the mask's pass leaves the statistics alone
}


def batch_for(system) -> dict:
    space = (16, 32, 32)[-system.dims :]
    label = torch.zeros(2, *space, dtype=torch.long)
    label[..., 8:20, 8:20] = 1
    return {"image": torch.randn(2, 1, *space, generator=torch.Generator().manual_seed(1)), "label": label}


@pytest.mark.parametrize("name", SYSTEMS)
def test_gradients_weights_and_statistics_are_the_same_to_the_last_bit(name):
    kept = build(name, width=4, **SYSTEMS[name])
    again = copy.deepcopy(kept)
    batch = batch_for(kept)
    for system, checkpointing in ((kept, False), (again, True)):
        step = system.make_step(system, system.settings, checkpointing=checkpointing)
        for seed in range(2):
            torch.manual_seed(seed)
            step(batch)
    torch.testing.assert_close(again.network.state_dict(), kept.network.state_dict(), rtol=0, atol=0)
    for ours, theirs in zip(again.network.parameters(), kept.network.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        if ours.grad is not None:
            assert torch.equal(ours.grad, theirs.grad)


def test_dropout_falls_as_it_fell(tiny, discs):
    ends = []
    for checkpointing in (False, True):
        system = tiny()
        system.network.backbone.bottleneck.append(nn.Dropout(0.5))
        history = fit(system, discs(4), epochs=2, progress=False, device="cpu", checkpointing=checkpointing)
        ends.append((history.column("loss"), list(system.network.state_dict().values())))
    torch.testing.assert_close(*ends, rtol=0, atol=0)


def test_bfloat16_is_computed_again_in_bfloat16(tiny, discs):
    ends = []
    for checkpointing in (False, True):
        system = tiny()
        fit(system, discs(4), epochs=1, amp=True, progress=False, device="cpu", checkpointing=checkpointing)
        ends.append(list(system.network.state_dict().values()))
    torch.testing.assert_close(*ends, rtol=0, atol=0)


def test_what_is_kept_is_the_blocks_inputs():
    """Of a block's six maps (convolution, norm, ReLU, twice) only the last one lives on, as the next one's input."""
    system = build("unet-3d", width=8)
    batch, held = batch_for(system), {}
    for checkpointing in (False, True):
        terms = Terms(system.network.train(), system.objective, checkpointing=checkpointing)
        with Meter() as meter:
            loss = sum(terms(batch).values())
            held[checkpointing] = meter.now
        del loss
    assert held[True] < 0.5 * held[False]


def test_the_stages_are_the_blocks_and_no_layer_alone():
    backbone = UNet(width=4, depth=3)
    found = list(stages(backbone))
    assert found == [backbone.encoder[0], backbone.encoder[1], backbone.bottleneck, *backbone.decoder]
    backbone.encoder[0].requires_grad_(False)  # without gradients nothing is kept anyway
    assert backbone.encoder[0] not in list(stages(backbone))


def test_a_compiled_network_decides_for_itself(tiny, discs):
    with pytest.raises(ValueError, match=r"compile and checkpointing came together.*Pass one of the two"):
        fit(tiny(), discs(2), progress=False, device="cpu", compile=True, checkpointing=True)
    with pytest.raises(ValueError, match=r"compile='fast' is unknown\. Pass True, False or one of 'reduce-overhead'"):
        fit(tiny(), discs(2), progress=False, device="cpu", compile="fast")
