"""Bytes are counted while they live, wherever a graph keeps them."""

import pytest
import torch
from torch import nn

from dsnotes.training import memory
from dsnotes.training.memory import Meter, free

CPU = torch.device("cpu")


def test_the_meter_counts_what_lives_and_forgets_what_died():
    with Meter() as meter:
        a = torch.ones(1000)
        views = a[:10], a.view(10, 100), a.add_(1)  # the same bytes
        b = a + a
        assert meter.now == 8000
        del b
        assert meter.now == 4000
        b = (a * 2).sum()
    assert meter.highest == 8000 + b.nbytes
    assert len(views) == 3


def test_the_meter_sees_what_a_graph_keeps_and_what_backward_makes():
    """A linear layer keeps its input; backward makes one gradient the size of each weight."""
    layer, x = nn.Linear(100, 1000, bias=False), torch.ones(50, 100)
    with Meter() as meter:
        y = layer(x).exp()  # exp keeps its result; the linear layer's own dies
        loss = y.sum()
        assert meter.now == 4 * 50 * 1000 + 4
        loss.backward()
        assert meter.now == 4 * 50 * 1000 + 4 + 4 * 100 * 1000


def test_the_meter_refuses_what_goes_over_its_limit():
    few = torch.ones(1000)
    with pytest.raises(torch.OutOfMemoryError, match="4000000 bytes live at a time, 1000000 are allowed"), Meter(1e6):
        few.expand(1000, 1000).contiguous()


def test_what_a_container_is_allowed_counts(monkeypatch):
    files = {"/proc/meminfo": "MemTotal: 16 kB\nMemAvailable:    8000 kB\n", "/sys/fs/cgroup/memory.max": "4096000\n"}
    monkeypatch.setattr(memory, "read", lambda path: files.get(path.as_posix(), ""))
    assert free(CPU) == 4096000
    files["/sys/fs/cgroup/memory.max"] = "max\n"
    assert free(CPU) == 8000 * 1024
    files.clear()
    assert free(CPU) is None
