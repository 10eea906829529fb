"""The patch of a run without one given: the images' median, within the memory of the run's own device."""

import math

import pytest
import torch

from dsnotes.training import devices
from dsnotes.training.patch_size import bytes_per_voxel, fitting_patch, planned_patch


def test_without_a_patch_images_of_several_sizes_give_their_median_up_to_the_stride(tiny):
    system = tiny()  # stride 2
    assert planned_patch(system, [(9, 20), (13, 22), (40, 24)], batch=1, memory=2**30) == (14, 22)


def test_a_planned_patch_fits_into_the_memory(tiny):
    system, sizes = tiny(), [(200, 100), (200, 102)]
    of_voxel = bytes_per_voxel(system)
    memory = 2 * 3 * of_voxel * 5000
    patch = planned_patch(system, sizes, batch=3, memory=memory)
    assert 0.9 * 5000 < math.prod(patch) <= 5000
    assert planned_patch(system, sizes, batch=3, memory=1) == (4, 4), "no smaller than twice the stride"


def test_bytes_per_voxel_are_those_of_a_larger_patch(tiny):
    """Counted anew: the tensors that autograd saves at 64 x 64, each storage once, without the weights."""
    network, kept = tiny().network.train(), {}
    weights = {p.data_ptr() for p in network.parameters()}

    def count(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        outputs = network(torch.zeros(1, 1, 64, 64))
    per_voxel = sum(n for at, n in kept.items() if at not in weights) / 64**2
    assert outputs.logits.requires_grad
    assert bytes_per_voxel(tiny()) == pytest.approx(per_voxel, rel=0.1)


def test_on_a_cpu_the_memory_of_a_gpu_does_not_count(tiny, discs, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (1, 1))
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert devices.free_memory(cpu) > 2**20
    assert devices.free_memory(gpu) == 1
    system, cases = tiny(), [*discs(1, size=16), *discs(1, size=32)]
    settings = system.settings
    assert fitting_patch(system, settings, cases, cpu) == (24, 24)
    assert fitting_patch(system, settings, cases, gpu) == (4, 4), "no smaller than twice the stride"
