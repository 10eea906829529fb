"""A folded network answers as the trained one does, and is a copy of it."""

import torch
from torch import nn

from dsnotes.networks.folding import folded


def trained():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.PReLU(init=0.3)),
        nn.Sequential(nn.BatchNorm2d(5), nn.Conv2d(5, 4, 1, bias=False), nn.BatchNorm2d(4), nn.PReLU(4)),
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 3), nn.BatchNorm1d(3)),
    )
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d | nn.BatchNorm1d):
            for values in (norm.running_mean, norm.bias):
                nn.init.normal_(values)
            for values in (norm.running_var, norm.weight):
                nn.init.uniform_(values, 0.5, 2.0)
    return net.eval()


def test_a_folded_network_answers_alike():
    net, x = trained(), torch.randn(3, 2, 6, 6)
    torch.testing.assert_close(folded(net)(x), net(x), rtol=1e-5, atol=1e-5)


def test_norms_go_where_a_convolution_is_before_them_and_stay_elsewhere():
    kinds = [[type(layer).__name__ for layer in layers] for layers in folded(trained())]
    assert kinds[0] == ["Conv2d", "Identity", "LeakyReLU"]
    assert kinds[1] == ["BatchNorm2d", "Conv2d", "Identity", "PReLU"], "a slope of each map has no place in a LeakyReLU"
    assert kinds[2] == ["Flatten", "Linear", "BatchNorm1d"]


def test_a_folded_network_is_a_copy():
    net, x = trained().train(), torch.randn(3, 2, 6, 6)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    copy = folded(net)
    assert not copy.training
    y = copy(x)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    nn.init.zeros_(net[2][1].weight)
    assert torch.equal(copy(x), y)
