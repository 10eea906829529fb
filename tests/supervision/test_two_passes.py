"""µ-Net's image and mask as one batch: outputs, gradients and running statistics of one pass after the other."""

import copy

import pytest
import torch

from dsnotes.networks.stage import activation_checkpointing
from dsnotes.networks.unet import UNet
from dsnotes.papers import build
from dsnotes.supervision import supervise
from dsnotes.supervision.pseudo_labels import PseudoLabels
from dsnotes.supervision.two_passes import two_passes


def one_after_the_other(network, image, mask):
    """The mask's statistics are forgotten by putting the running ones back."""
    on_image = network(image)
    kept = {name: buffer.clone() for name, buffer in network.named_buffers()}
    on_mask = network(mask)
    for name, buffer in network.named_buffers():
        buffer.data = kept[name]
    return on_image, on_mask


def images_and_masks(dims=2, n=3):
    g = torch.Generator().manual_seed(0)
    image, mask = (torch.randn(n, 1, *(16,) * dims, generator=g, dtype=torch.float64) for _ in range(2))
    return image, (mask > 1).double()


def network_of(dims=2, norm="batch"):
    torch.manual_seed(0)
    return supervise(UNet(width=4, depth=3, dims=dims, norm=norm), PseudoLabels("hyb")).double()


def everything(network, outputs):
    """Outputs, the gradients of their sum of squares, and the running statistics."""
    tensors = [t for o in outputs for t in (o.logits, o.restored, *o.features.values(), *o.restored_features.values())]
    gradients = torch.autograd.grad(sum(t.square().sum() for t in tensors), list(network.parameters()))
    return [*tensors, *gradients, *network.buffers()]


@pytest.mark.parametrize("dims", [2, 3])
def test_one_batch_is_one_pass_after_the_other(dims):
    together = network_of(dims)
    apart = copy.deepcopy(together)
    given = images_and_masks(dims)
    for a, b in zip(
        everything(together, two_passes(together, *given)),
        everything(apart, one_after_the_other(apart, *given)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    mixed = copy.deepcopy(apart)
    mixed(torch.cat(given))
    assert not torch.allclose(mixed.backbone.encoder[0][0][1].running_var, apart.backbone.encoder[0][0][1].running_var)


@pytest.mark.parametrize(
    ("norm", "training", "small", "batches"),
    [
        ("batch", True, 2**14, [6]),
        ("batch", True, 700, [3, 3]),
        ("batch", False, 700, [6]),
        ("instance", True, 700, [6]),
    ],
)
def test_small_images_go_as_one_batch_with_their_masks(norm, training, small, batches, monkeypatch):
    """Large ones too where no batch norm learns."""
    monkeypatch.setattr("dsnotes.supervision.two_passes.SMALL", small)
    network, seen = network_of(norm=norm).train(training), []
    network.backbone.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    two_passes(network, *images_and_masks())
    assert seen == batches
    assert "forward" not in {name for module in network.modules() for name in vars(module)}


def test_blocks_computed_again_in_the_backward_pass_take_one_pass_after_the_other():
    plain, given = network_of(), images_and_masks()
    sparing = copy.deepcopy(plain)
    with activation_checkpointing(sparing.backbone):
        outputs = two_passes(sparing, *given)
    for a, b in zip(everything(sparing, outputs), everything(plain, two_passes(plain, *given)), strict=True):
        if a.is_floating_point():  # the second pass counts as a batch, which no average reads
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_the_papers_system_trains_to_the_same_weights(monkeypatch):
    """Three steps of µ-Net-Hyb in float64, with its own optimiser."""
    label = (torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0)) > 0.8).long()
    batch = {"image": label[:, None] + torch.randn(2, 1, 32, 32, dtype=torch.float64), "label": label}

    def trained():
        torch.manual_seed(0)
        system = build("mu-net-hyb", width=4)
        system.network.double()
        step = system.make_step(system, system.settings)
        losses = [step(batch)["loss"] for _ in range(3)]
        return torch.stack(losses)

    ours = trained()
    monkeypatch.setattr("dsnotes.supervision.pseudo_labels.two_passes", one_after_the_other)
    torch.testing.assert_close(ours, trained(), rtol=1e-8, atol=0)
