"""Blocks that are computed again change neither a gradient nor a statistic by a bit, and hold less memory."""

import copy
import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dsnotes.networks.stage import activation_checkpointing, outermost
from dsnotes.networks.unet import UNet
from dsnotes.papers import build, systems
from dsnotes.training.forward_pass import ForwardPass


class Meter(TorchDispatchMode):
    """The bytes of the tensors that are made inside, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.known = 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {id(s) for s in storages((args, kwargs))}
        made = function(*args, **(kwargs or {}))
        for storage in storages(made):
            if id(storage) not in given | self.known:  # a view of what was there before takes nothing
                self.known.add(id(storage))
                self.now += storage.nbytes()
                weakref.finalize(storage, self.forget, id(storage), storage.nbytes())
        return made

    def forget(self, name: int, size: int) -> None:
        self.known.discard(name)
        self.now -= size


def storages(values) -> list:
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


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


def test_what_is_kept_is_the_blocks_inputs():
    """Of a block's six maps (convolution, norm, ReLU, twice) only the last one lives on, as the next one's input."""
    system = build("unet-3d", width=8)
    batch, held = batch_for(system), {}
    for checkpointing in (False, True):
        forward_pass = ForwardPass(system.network.train(), system.objective, checkpointing=checkpointing)
        with Meter() as meter:
            loss = sum(forward_pass(batch)[1].values())
            held[checkpointing] = meter.now
        del loss
    assert held[True] < 0.5 * held[False]


def test_the_stages_are_the_blocks_and_no_layer_alone():
    backbone = UNet(width=4, depth=3)
    found = list(outermost(backbone))
    assert found == [backbone.encoder[0], backbone.encoder[1], backbone.bottleneck, *backbone.decoder]
    backbone.encoder[0].requires_grad_(False)  # without gradients nothing is kept anyway
    with activation_checkpointing(backbone):
        assert [stage.checkpointing for stage in found] == [False, True, True, True, True]
    assert not any(stage.checkpointing for stage in found)


def test_every_system_has_stages():
    """Classifiers of patches have none: each patch is small, and they are answered as below."""
    without = {"mc-cnn", "mcroi-cnn"}
    with torch.device("meta"):
        backbones = {name: build(name, width=4).network.backbone for name in systems()}
    assert {name for name, backbone in backbones.items() if not list(outermost(backbone))} == without


def test_a_network_without_stages_is_answered():
    plain = nn.Sequential(nn.Conv2d(1, 1, 3))
    with pytest.raises(ValueError, match=r"Sequential has no block that.*Derive"), activation_checkpointing(plain):
        pass
    with activation_checkpointing(plain, enabled=False):
        pass
