"""A tied decoder on a network that has no encoder to be tied to."""

from __future__ import annotations

import pytest

from dsnotes.networks.baselines.fcn import FCN
from dsnotes.networks.mu_net import TiedDecoder


def test_a_network_without_encoder_blocks_is_refused():
    backbone = FCN(in_channels=1, classes=2, dims=2, width=4)
    with pytest.raises(ValueError, match=r"FCN has no encoder and bottleneck. Use Pseudo"):
        TiedDecoder(backbone)
