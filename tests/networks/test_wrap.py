"""Networks of other libraries as backbones: their maps, training under supervisions, and what each lacks."""

from __future__ import annotations

import sys
import warnings
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import dsnotes
from dsnotes.data import phantoms
from dsnotes.networks.wrap import candidates
from dsnotes.supervision import MultiScale, Plain, Restoration, TwoPathway
from dsnotes.supervision.pseudo_labels import PseudoLabels

sys.path.insert(0, str(Path(__file__).parent))
from torchvision_on_cpu import require_torchvision

sys.path.pop(0)


def basic_unet():
    from monai.networks.nets import BasicUNet

    return BasicUNet(spatial_dims=2, in_channels=1, out_channels=1, features=(4, 4, 8, 16, 32, 4))


def seg_res_net():
    from monai.networks.nets import SegResNet

    return SegResNet(spatial_dims=2, in_channels=1, out_channels=1, init_filters=8)


def dyn_unet(**more):
    from monai.networks.nets import DynUNet

    sizes = {"kernel_size": [3] * 4, "strides": [1, 2, 2, 2], "upsample_kernel_size": [2] * 3}
    return DynUNet(spatial_dims=2, in_channels=1, out_channels=1, filters=[4, 8, 16, 32], **sizes, **more)


def smp_unet():
    require_torchvision()
    import segmentation_models_pytorch as smp

    return smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=1, decoder_channels=(16, 8, 8, 4, 4))


def torchvision_fcn():
    require_torchvision()
    from torchvision.models.segmentation import fcn_resnet50

    return fcn_resnet50(weights=None, weights_backbone=None, num_classes=1)


def sequential(width=4):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(2 * width, 1, 1),
    )


FOUR = {"stride2": "upcat_2", "stride4": "upcat_3", "stride8": "upcat_4", "bottleneck": "down_4"}
BLOCKS = {"stride2": "decoder.blocks.3", "stride4": "decoder.blocks.2", "bottleneck": "encoder.layer4"}
MADE = {
    "BasicUNet": (basic_unet, FOUR),
    "SegResNet": (seg_res_net, {"stride2": "up_layers.1", "stride4": "up_layers.0", "bottleneck": "down_layers.3"}),
    "DynUNet": (dyn_unet, {"stride2": "upsamples.1", "stride4": "upsamples.0", "bottleneck": "bottleneck"}),
    "smp.Unet": (smp_unet, BLOCKS),
    "torchvision": (torchvision_fcn, {"stride4": "backbone.layer1", "stride8": "backbone.layer4"}),
    "Sequential": (sequential, {"stride2": "2"}),
}  # fmt: skip
CHANNELS = {"torchvision": 3}


def made(name):
    with warnings.catch_warnings():  # of the other libraries' own imports
        warnings.simplefilter("ignore")
        return MADE[name][0]()


@pytest.fixture(scope="module")
def cases():
    return phantoms.nodules(2, seed=0)


@pytest.mark.parametrize("name", MADE)
def test_the_levels_are_what_the_modules_return(name):
    module, levels = made(name), MADE[name][1]
    backbone = dsnotes.wrap(module, classes=2, levels=levels).eval()
    image = torch.randn(1, CHANNELS.get(name, 1), 64, 64)
    features = backbone(image)
    answer = module.eval()(image)
    assert torch.equal(features.logits, answer["out"] if isinstance(answer, dict) else answer)
    for given, path in levels.items():
        at = given if given == "bottleneck" else f"decoder.{given}"
        seen = []
        hook = module.get_submodule(path).register_forward_hook(lambda m, i, o, seen=seen: seen.append(o))
        module(image)
        hook.remove()
        torch.testing.assert_close(features[at], seen[0])
        assert backbone.levels[at].channels == seen[0].shape[1]
        assert backbone.levels[at].stride == (64 // seen[0].shape[2],) * 2
    assert next(iter(features.decoder)) == "stride1"  # the output itself
    assert features.decoder["stride1"] is features.logits


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("BasicUNet", MultiScale()),
        ("BasicUNet", TwoPathway()),
        ("SegResNet", TwoPathway(sides="(234)")),
        ("DynUNet", PseudoLabels("deep")),
        ("smp.Unet", MultiScale()),
        ("torchvision", MultiScale()),
        ("Sequential", TwoPathway(sides="(34)")),
        ("BasicUNet", Restoration()),
    ],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
def test_two_steps_of_training_move_the_network_that_was_given(name, objective, cases):
    module, levels = made(name), MADE[name][1]
    before = deepcopy(module.state_dict())
    system = dsnotes.system(name, dsnotes.wrap(module, levels=levels), objective, patch=(64, 64), batch=2)
    train = [replace(c, image=np.stack([c.image] * CHANNELS.get(name, 1))) for c in cases]
    history = dsnotes.fit(system, train, epochs=1, iterations=2, device="cpu", amp=False, progress=False)
    assert np.isfinite(history[-1]["loss"])
    moved = [key for key, value in module.state_dict().items() if not torch.equal(value, before[key])]
    assert moved
    assert dsnotes.predict(system, train[0], device="cpu").shape == (1, 64, 64)


def test_a_volume_has_its_levels_too():
    from monai.networks.nets import BasicUNet

    module = BasicUNet(spatial_dims=3, in_channels=2, out_channels=3, features=(4, 4, 4, 4, 4, 4))
    backbone = dsnotes.wrap(module, classes=3, levels={"stride2": "upcat_2"}, image=torch.zeros(1, 2, 32, 32, 32))
    assert (backbone.dims, backbone.in_channels, backbone.stride) == (3, 2, (16, 16, 16))
    assert backbone.levels["decoder.stride2"].stride == (2, 2, 2)
    assert backbone.levels["decoder.stride1"].channels == 3


def test_candidates_are_listed_with_channels_and_strides_and_nothing_is_changed():
    module = basic_unet().train()
    state, seed = deepcopy(module.state_dict()), torch.get_rng_state()
    found = {each.path: (each.channels, each.stride) for each in candidates(module)}
    assert found["upcat_3"] == (8, (4, 4))
    assert found["down_4"] == (32, (16, 16))
    assert "upcat_3.convs" not in found  # returns what the block returns
    assert "stride (4, 4)" in repr(candidates(module))
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert torch.equal(seed, torch.get_rng_state())
    assert all(part.training for part in module.modules())
    assert not any(part._forward_hooks for part in module.modules())


def test_a_copy_catches_its_own_maps_and_a_second_wrap_disturbs_nothing():
    module = sequential()
    first, second = (dsnotes.wrap(module, levels={"stride2": "2"}) for _ in range(2))
    copy = deepcopy(first)
    with torch.no_grad():
        copy.module[2].weight.zero_(), copy.module[2].bias.fill_(3.0)
    image = torch.randn(1, 1, 64, 64)
    assert copy(image).decoder["stride2"].unique().tolist() == [3.0]
    torch.testing.assert_close(first(image).decoder["stride2"], second(image).decoder["stride2"])
    assert first(image).decoder["stride2"].unique().numel() > 1


class Answers(nn.Module):
    """A network that returns its output in the form that the function `answer` gives it."""

    def __init__(self, answer, n_out=1):
        super().__init__()
        self.conv, self.answer = nn.Conv2d(1, n_out, 3, padding=1), answer

    def forward(self, image):
        return self.answer(self.conv(image))


def test_what_a_network_returns_beside_its_logits_is_left_alone():
    image = torch.randn(1, 1, 64, 64)
    for answer in (
        lambda y: (y, y.mean((2, 3))),
        lambda y: [y],
        lambda y: {"out": y, "aux": y},
        lambda y: {"mask": y, "classes": y.mean((2, 3))},
    ):
        module = Answers(answer)
        assert torch.equal(dsnotes.wrap(module)(image).logits, module.conv(image))
    module = Answers(lambda y: (y, -y))
    assert torch.equal(dsnotes.wrap(module, output=1)(image).logits, -module.conv(image))


WRONG = {
    "no such path": (lambda: dsnotes.wrap(basic_unet(), levels={"stride2": "upcat_9"}), ["'upcat_9'", "'upcat_"]),
    "another stride": (lambda: dsnotes.wrap(basic_unet(), levels={"stride2": "upcat_3"}), ["(4, 4)", "'stride4'"]),
    "no level's name": (lambda: dsnotes.wrap(basic_unet(), levels={"fine": "upcat_1"}), ["'fine'", "'stride2'"]),
    "no map": (lambda: dsnotes.wrap(sequential(), levels={"stride2": "5"}), ["'5'", "candidates(module)"]),
    "two equal answers": (lambda: dsnotes.wrap(Answers(lambda y: (y, -y))), ["2 values", "output=0"]),
    "too many channels": (lambda: dsnotes.wrap(Answers(lambda y: y, 2)), ["2 channels", "nn.Conv2d(2, 1, 1)"]),
    "another size": (lambda: dsnotes.wrap(Answers(lambda y: y[:, :, ::4, ::4])), ["(16, 16)", "scale_factor=4"]),
    "not an image's": (lambda: dsnotes.wrap(Answers(lambda y: y.mean((2, 3)))), ["(1, 1)", "64, 64"]),
    "no convolution": (lambda: dsnotes.wrap(nn.Linear(64, 64)), ["in_channels=1", "dims=2"]),
    "not its size": (lambda: dsnotes.wrap(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Linear(9, 9))), ["64, 64)", "image="]),
    "a backbone": (lambda: dsnotes.wrap(dsnotes.build("unet-2d", width=2).network.backbone), ["already"]),
    "an unknown output": (lambda: dsnotes.wrap(Answers(lambda y: {"a": y}), output="b"), ["'b'", "['a']"]),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_answered_with_what_to_type(what):
    ask, parts = WRONG[what]
    with pytest.raises((ValueError, TypeError)) as told:
        ask()
    assert all(part in str(told.value) for part in parts), str(told.value)


@pytest.mark.parametrize(
    ("name", "levels", "objective", "parts"),
    [
        ("BasicUNet", {}, MultiScale(), ["classes=2, levels={", "'stride2': 'upcat_2'", "stride 16: 'down_4'"]),
        ("BasicUNet", {"stride2": "upcat_2"}, TwoPathway(), ["needs 4", "has 2", "'stride4': 'upcat_3'"]),
        ("BasicUNet", {"stride2": "upcat_2"}, Restoration(), ["'bottleneck'", "'bottleneck': 'down_4'"]),
        ("torchvision", {"stride4": "backbone.layer1"}, PseudoLabels("seg"), ["PseudoLabels('deep')"]),
    ],
    ids=["no levels", "too few", "no bottleneck", "no mirrored encoder"],
)  # fmt: skip
def test_a_supervision_says_which_levels_it_misses(name, levels, objective, parts):
    with pytest.raises(ValueError) as told:  # noqa: PT011
        dsnotes.system("mine", dsnotes.wrap(made(name), levels=levels), objective)
    assert all(part in str(told.value) for part in parts), str(told.value)


def test_without_levels_the_output_alone_is_trained(cases):
    system = dsnotes.system("mine", dsnotes.wrap(sequential()), Plain(), patch=(64, 64), batch=2)
    history = dsnotes.fit(system, cases, epochs=1, iterations=1, device="cpu", amp=False, progress=False)
    assert {"cross-entropy", "dice"} <= history[-1].keys()


def test_a_network_that_answers_otherwise_in_training_is_refused_at_once():
    module = dyn_unet(deep_supervision=True, deep_supr_num=2)
    with pytest.raises(ValueError, match="deep_supervision=False"):
        dsnotes.system("mine", dsnotes.wrap(module), Plain())
