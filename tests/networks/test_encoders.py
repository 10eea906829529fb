"""Encoders by their published counts and names, and a state dict that fits or is refused by name."""

import pytest
import torch

from dsnotes.networks.encoders import load_pretrained, res2net50, resnet34, resnet50


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("encoder", "count", "tensors"),
    [(resnet34, 21_284_672, 216), (resnet50, 23_508_032, 318), (res2net50, 23_669_352, 0)],
)
def test_counts_without_the_classifier(encoder, count, tensors):
    with torch.device("meta"):
        net = encoder(in_channels=3)
    assert parameters(net) == count
    assert tensors in (0, len(net.state_dict())), "36 and 53 convolutions, and five tensors a norm"


def test_names_are_those_of_the_published_weights():
    with torch.device("meta"):
        plain, deep = resnet50(in_channels=3).state_dict(), res2net50(in_channels=3).state_dict()
    assert {"conv1.weight", "bn1.running_var", "layer1.0.downsample.0.weight", "layer4.2.bn3.bias"} <= set(plain)
    assert {"conv1.0.weight", "conv1.6.weight", "layer1.0.downsample.1.weight", "layer3.5.convs.2.weight"} <= set(deep)


@pytest.mark.parametrize("encoder", [resnet34, resnet50, res2net50])
@pytest.mark.parametrize("dilated", [False, True])
def test_maps_have_the_channels_and_strides_they_say(encoder, dilated):
    net = encoder(in_channels=1, width=8, dilated=dilated).eval()
    maps, deepest = net(torch.randn(1, 1, 64, 96))
    assert net.strides == [2, 4, 8, 16, 16 if dilated else 32]
    for x, channels, stride in zip([*maps.values(), deepest], net.channels, net.strides, strict=True):
        assert x.shape == (1, channels, 64 // stride, 96 // stride)
    assert list(maps) == ["stride2", "stride4", "stride8", "stride16"]


def test_a_dilated_stage_begins_with_the_dilation_of_the_one_before():
    net = resnet50(in_channels=1, width=8, dilated=True)
    assert [block.conv2.dilation[0] for block in net.layer4] == [1, 2, 2]
    assert [block.conv2.stride[0] for block in net.layer4] == [1, 1, 1]


def test_res2nets_first_blocks_keep_their_splits_apart():
    """Only later blocks hand a split on to the next: the third split's result hangs on the first there."""
    net = res2net50(in_channels=1, width=16).eval()
    for block, handed_on in ((net.layer2[0], False), (net.layer2[1], True)):
        for norm in block.bns:
            torch.nn.init.ones_(norm.bias)  # away from the ReLU's dead side
        seen = []
        block.conv3.register_forward_pre_hook(lambda module, given, to=seen: to.append(given[0]))
        w = block.width
        x = torch.randn(1, block.conv1.in_channels, 8, 8)
        block(x)
        with torch.no_grad():
            block.bn1.bias[:w] += 1  # the first split alone
        block(x)
        assert torch.equal(seen[0][:, 2 * w : 3 * w], seen[1][:, 2 * w : 3 * w]) != handed_on
        assert not torch.equal(seen[0][:, :w], seen[1][:, :w])


@pytest.fixture
def published(tmp_path):
    """Weights as they are published: three channels and a classifier."""
    net = resnet34(in_channels=3, width=8)
    torch.save(
        net.state_dict() | {"fc.weight": torch.zeros(1000, 64), "fc.bias": torch.zeros(1000)}, tmp_path / "r34.pth"
    )
    return net.eval(), tmp_path / "r34.pth"


def test_published_weights_are_taken_without_their_classifier(published):
    net, path = published
    own = resnet34(in_channels=3, width=8)
    load_pretrained(own, path)
    torch.testing.assert_close(own.state_dict(), net.state_dict(), rtol=0, atol=0)
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, path)
    load_pretrained(resnet34(in_channels=3, width=8), path)


def test_a_grey_image_is_answered_as_its_copy_in_three_colours(published):
    net, path = published
    grey = resnet34(in_channels=1, width=8).eval()
    load_pretrained(grey, path)
    image = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(grey(image)[1], net(image.expand(-1, 3, -1, -1))[1], rtol=1e-4, atol=1e-4)


def test_other_weights_are_refused_by_the_names_that_are_missing(published, tmp_path):
    _, path = published
    with pytest.raises(
        ValueError, match=r"r34.pth' holds another encoder: \d+ tensors missing.*missing layer1.0.conv3.w"
    ):
        load_pretrained(resnet50(in_channels=3, width=8), path)
    with pytest.raises(
        ValueError, match=r"0 tensors missing, \d+ of another shape \(conv1.weight is \(8, 3, 7, 7\) there, \(16"
    ):
        load_pretrained(resnet34(in_channels=3, width=16), path)
    (tmp_path / "no.pth").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"cannot read .*no.pth'.*Pass the .pth file of torchvision"):
        load_pretrained(resnet34(in_channels=3, width=8), tmp_path / "no.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="216 tensors missing|180 tensors missing"):
        load_pretrained(resnet34(in_channels=3, width=8), tmp_path / "list.pth")
