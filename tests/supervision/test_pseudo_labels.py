"""µ-Net: the tied decoder is an adjoint, the mask's pass gives the labels, and nothing of it reaches deployment."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from dsnotes.losses import bce_dice, binary_cross_entropy, min_max
from dsnotes.networks.mu_net import AutoEncoder, TiedDecoder
from dsnotes.networks.unet import UNet
from dsnotes.supervision import loss_terms, supervise
from dsnotes.supervision.pseudo_labels import VARIANTS, PseudoLabels, as_image, two_passes


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def batch(classes=2, dims=2, size=32):
    g = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(2, 1, *(size,) * dims, generator=g),
        "label": torch.randint(0, classes, (2, *(size,) * dims), generator=g),
    }


def small(variant="hyb", norm="instance", **settings):
    torch.manual_seed(0)
    objective = PseudoLabels(variant, **settings)
    return supervise(UNet(width=4, norm=norm), objective), objective


def test_parameter_counts_of_the_paper():
    with torch.device("meta"):
        assert parameters(supervise(UNet(), PseudoLabels("deep"))) == 31_042_369
        assert parameters(supervise(UNet(), PseudoLabels("hyb"))) == 31_042_369 + 8_833
        assert parameters(supervise(UNet(), PseudoLabels("auto"))) == 58_951_298
        assert parameters(AutoEncoder(UNet())) == 27_908_929


def test_a_step_back_is_the_adjoint_of_the_step_forward():
    """<conv(u), v> = <u, conv_transpose(v)> with the same kernel."""
    backbone = UNet(width=4)
    tied = TiedDecoder(backbone)
    conv = copy.deepcopy(backbone.encoder[1][1][0]).double()
    nn.init.zeros_(conv.bias)
    u, v = (torch.randn(1, 8, 9, 7, dtype=torch.float64) for _ in range(2))
    none = torch.zeros(8, dtype=torch.float64)
    torch.testing.assert_close((conv(u) * v).sum(), (u * tied.back(v, conv, none)).sum())


def test_the_kernels_are_the_encoders_and_have_one_name():
    net, _ = small()
    assert not [name for name, p in net.heads.named_parameters() if p.ndim > 2]
    assert len({id(p) for p in net.parameters()}) == len(list(net.named_parameters()))
    image = batch()["image"]
    net.eval()
    features = net.backbone(image)
    before = net.heads["tied"](features, image)["restored"]
    with torch.no_grad():
        net.backbone.encoder[2][0][0].weight.mul_(1.5)
    assert not torch.equal(net.heads["tied"](features, image)["restored"], before)  # the latent held fixed


def test_the_reference_survives_a_deep_copy():
    net, _ = small()
    twin = copy.deepcopy(net)
    with torch.no_grad():
        twin.backbone.encoder[0][0][0].weight.zero_()
    image = batch()["image"]
    features = net.eval().backbone(image)
    assert not torch.equal(
        net.heads["tied"](features, image)["restored"], twin.eval().heads["tied"](features, image)["restored"]
    )


def test_a_kernels_gradient_is_the_sum_of_both_paths():
    net, _ = small()
    image, kernel = batch()["image"], net.backbone.encoder[1][0][0].weight
    (whole,) = torch.autograd.grad(net(image).restored.sum(), kernel)
    features = net.backbone(image)
    (decoder,) = torch.autograd.grad(
        net.heads["tied"](_detached(features), image)["restored"].sum(), kernel, retain_graph=True
    )
    frozen = copy.deepcopy(net)
    tied = frozen.heads["tied"]
    for pair in tied._encoder[0]:
        for conv in pair:
            conv.weight.requires_grad_(False)
    restored = tied(features, image)["restored"].sum()
    (encoder,) = torch.autograd.grad(restored, kernel)
    torch.testing.assert_close(whole, encoder + decoder, rtol=1e-3, atol=1e-4)


def _detached(features):
    return type(features)(
        {k: v.detach() for k, v in features.encoder.items()},
        features.bottleneck.detach(),
        {k: v.detach() for k, v in features.decoder.items()},
        features.logits.detach(),
    )


def test_levels_of_both_decoders_have_the_same_shapes():
    net, _ = small()
    outputs = net(batch()["image"])
    assert list(outputs.restored_features) == ["stride1", "stride2", "stride4", "stride8", "stride16"]
    for name, r in outputs.restored_features.items():
        assert r.shape == outputs.features[name].shape
    assert outputs.restored.shape == batch()["image"].shape


def test_an_encoder_without_double_convolutions_is_refused():
    with pytest.raises(ValueError, match=r"two 3x3 convolutions per level, this encoder has \[2, 2, 2, 2, 3\]"):
        TiedDecoder(UNet(width=2, residual=True, bottleneck_convs=3))


def test_terms_of_the_hybrid_are_equation_13():
    net, objective = small(output=5.0, mask=2.0, restored_mask=3.0, restored_image=4.0, features=9.0)
    b = batch()
    terms = loss_terms(objective, net, b)
    g, t = b["label"][:, None].float(), b["label"][:, None].float()
    x, m = net(b["image"]), net(g)
    expected = {
        "output": 5 * bce_dice(x.logits, t),
        "mask": 2 * bce_dice(m.logits, t),
        "agree": bce_dice(x.logits, m.logits.sigmoid()),
        "features": 9 * sum(functional.mse_loss(x.features[k], m.features[k]) for k in x.features),
        "restored mask": 3 * binary_cross_entropy(m.restored, g),
        "agree restored": bce_dice(x.logits, m.restored.sigmoid()),
        "restored features": 6 * sum(functional.mse_loss(x.features[k], m.restored_features[k]) for k in x.features),
        "restored image": 4 * binary_cross_entropy(x.restored, min_max(b["image"])),
    }
    assert terms.keys() == expected.keys()
    for name in terms:
        torch.testing.assert_close(terms[name], expected[name], rtol=1e-4, atol=1e-5)


def test_levels_are_weighed_by_omega_and_sigma_and_those_left_out_not_at_all():
    omega, sigma = {"stride16": 2.0, "stride1": 0.5}, {"stride4": 3.0}
    net, objective = small(features=9.0, restored_features=6.0, levels=omega, restored_levels=sigma)
    b = batch()
    terms, x, m = loss_terms(objective, net, b), net(b["image"]), net(b["label"][:, None].float())
    by_hand = 9 * sum(w * functional.mse_loss(x.features[k], m.features[k]) for k, w in omega.items())
    restored = 6 * 3 * functional.mse_loss(x.features["stride4"], m.restored_features["stride4"])
    torch.testing.assert_close(terms["features"], by_hand, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["restored features"], restored, rtol=1e-4, atol=1e-5)


def test_the_autoencoders_features_are_weighed_by_omega():
    every = loss_terms(small("auto", features=9.0)[1], *(pair := (small("auto")[0], batch())))["restored features"]
    omega = dict.fromkeys(("stride1", "stride2", "stride4", "stride8", "stride16"), 2.0)
    doubled = loss_terms(small("auto", features=9.0, levels=omega)[1], *pair)["restored features"]
    torch.testing.assert_close(doubled, 2 * every)


@pytest.mark.parametrize("levels", [{}, {"stride3": 1.0}])
def test_a_level_that_is_not_compared_is_answered_with_those_that_are(levels):
    net, objective = small("deep", levels=levels)
    with pytest.raises(ValueError, match=r"levels=.*compares \['stride1'.*levels=\{'stride16': 1.0\}"):
        loss_terms(objective, net, batch())


def test_the_hybrid_without_one_half_is_the_other():
    b = batch()
    net, hyb = small()
    seg = loss_terms(PseudoLabels("seg"), net, b)
    half = loss_terms(PseudoLabels("hyb", restored_mask=0.0, agree_restored=0.0, restored_features=0.0), net, b)
    assert seg.keys() == half.keys()
    for name in seg:
        torch.testing.assert_close(seg[name], half[name])
    rec = loss_terms(PseudoLabels("rec"), net, b)
    other = loss_terms(PseudoLabels("hyb", mask=0.0, agree=0.0, features=0.0), net, b)
    assert rec.keys() == other.keys()


def test_an_image_that_is_its_mask_has_no_semantic_difference():
    net, objective = small("deep")
    label = batch()["label"]
    image = as_image(label, 2, torch.zeros(2, 1, 32, 32))
    assert loss_terms(objective, net, {"image": image, "label": label})["features"].item() == pytest.approx(
        0, abs=1e-10
    )


@pytest.mark.parametrize("detach", [True, False])
def test_a_pseudo_label_gets_a_gradient_only_when_asked(detach):
    net, objective = small("deep", detach_targets=detach)
    b = batch()
    grey = as_image(b["label"], 2, b["image"]).clone().requires_grad_()
    on_image, on_mask = two_passes(net, b["image"], grey)
    frozen = torch.Tensor.detach if detach else (lambda t: t)
    from dsnotes.supervision.pseudo_labels import feature_distance

    loss = feature_distance(on_image.features, on_mask.features, frozen)
    (grad,) = torch.autograd.grad(loss, grey, allow_unused=True)
    assert (grad is None or not grad.any()) == detach
    assert objective.detach_targets == detach
    whole = torch.autograd.grad(loss_terms(objective, net, b)["features"], next(net.parameters()))[0]
    other = loss_terms(PseudoLabels("deep", detach_targets=not detach), net, b)["features"]
    assert not torch.allclose(whole, torch.autograd.grad(other, next(net.parameters()))[0])


def test_the_masks_pass_leaves_the_running_statistics_alone():
    net, objective = small("hyb", norm="batch")
    b = batch()
    alone = copy.deepcopy(net)
    alone(b["image"])
    loss_terms(objective, net, b)
    for name, buffer in net.named_buffers():
        if "running" in name:
            torch.testing.assert_close(buffer, dict(alone.named_buffers())[name])


def test_without_batch_norm_both_passes_go_as_one_batch():
    net, objective = small("hyb", norm="instance")
    seen = []
    net.backbone.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    loss_terms(objective, net, batch())
    assert seen == [4]
    net, objective = small("hyb", norm="batch")
    net.backbone.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    loss_terms(objective, net, batch())
    assert seen[1:] == [2, 2]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("classes", "dims"), [(2, 2), (3, 2), (2, 3)])
def test_every_variant_trains_every_parameter(variant, classes, dims):
    objective = PseudoLabels(variant)
    net = supervise(UNet(width=4, classes=classes, dims=dims, norm="instance"), objective)
    sum(loss_terms(objective, net, batch(classes, dims, 32)).values()).backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_deployment_is_the_plain_backbone_bit_for_bit(variant):
    net, _ = small(variant)
    net.eval()
    deployed, image = net.deployed(), batch()["image"]
    assert not deployed.heads
    assert parameters(deployed) == parameters(UNet(width=4))
    assert torch.equal(net(image).logits, deployed(image).logits)


def test_an_unknown_variant_is_answered():
    with pytest.raises(ValueError, match=r"variant='segrec' is unknown. Choose one of \['deep', 'auto', 'seg', 'rec'"):
        PseudoLabels("segrec")


def test_the_variational_variant_is_rec_with_squared_errors_and_a_divergence():
    net, objective = small("vae", patch=(32, 32))
    b = batch()
    net.eval()  # no draw, so that both evaluations are one
    terms = loss_terms(objective, net, b)
    g = b["label"][:, None].float()
    x, m = net(b["image"]), net(g)

    def kl(code):
        mu, variance = code["mean"], code["log_variance"].exp()
        return (mu**2 + variance - variance.log() - 1).sum() / 2 / 32**2  # of a batch of two, by voxels of an image

    expected = {
        "output": 5 * bce_dice(x.logits, g),
        "restored mask": 0.1 * functional.mse_loss(m.restored.sigmoid(), g),
        "agree restored": bce_dice(x.logits, m.restored.sigmoid()),
        "restored features": 6 * sum(functional.mse_loss(x.features[k], m.restored_features[k]) for k in x.features),
        "restored image": 0.1 * functional.mse_loss(x.restored.sigmoid(), min_max(b["image"])),
        "divergence": 0.1 * (kl(x.latent) + kl(m.latent)),
    }
    assert terms.keys() == expected.keys()
    for name in terms:
        torch.testing.assert_close(terms[name], expected[name], rtol=1e-4, atol=1e-6)


def test_a_variational_decoder_can_be_held_to_the_tied_ones_cross_entropies():
    """All but the decoder as in rec, and the divergence beside it."""
    net, objective = small("vae", patch=(32, 32), squared=False, restored_mask=2.0, restored_image=3.0)
    b = batch()
    net.eval()
    terms = loss_terms(objective, net, b)
    g = b["label"][:, None].float()
    x, m = net(b["image"]), net(g)
    bce = functional.binary_cross_entropy_with_logits
    torch.testing.assert_close(terms["restored mask"], 2 * bce(m.restored, g))
    torch.testing.assert_close(terms["restored image"], 3 * bce(x.restored, min_max(b["image"])))
    assert "divergence" in terms


@pytest.mark.parametrize(
    ("variant", "on_mask"),
    [
        ("deep", ["S"]),
        ("seg", ["S"]),
        ("rec", ["down", "R"]),
        ("vae", ["down", "R"]),
        ("auto", ["R"]),
        ("hyb", ["S", "R"]),
    ],
)
def test_the_masks_pass_computes_only_what_is_compared(variant, on_mask):
    """S is the segmentation's whole pass, `down` its encoder alone, R the restoring part."""
    net, objective = small(variant, norm="batch")
    seen, encode = [], net.backbone.encode
    net.backbone.register_forward_hook(lambda module, args, out: seen.append("S"))
    for head in net.heads.values():
        head.register_forward_hook(lambda module, args, out: seen.append("R"))
    net.backbone.encode = lambda image: seen.append("down") or encode(image)
    loss_terms(objective, net, batch())
    image = ["down", "S"] + ["R"] * (variant != "deep")  # a whole pass goes down first
    assert seen[: len(image)] == image
    assert seen[len(image) :] == (["down", *on_mask] if "S" in on_mask else on_mask)


def test_where_batch_norm_learns_no_more_both_passes_go_as_one_batch():
    net, objective = small("hyb", norm="batch")
    seen = []
    net.eval().backbone.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    loss_terms(objective, net, batch())
    assert seen == [4]


def test_a_teacher_with_other_channels_is_refused_and_told_what_fits():
    from dsnotes.networks.baselines.unet3_plus import UNet3Plus

    with pytest.raises(ValueError, match=r"the tied decoder has channels .* the decoder of UNet3Plus has .*'deep'"):
        TiedDecoder(UNet3Plus(width=2))
    with pytest.raises(ValueError, match="the autoencoder has channels"):
        AutoEncoder(UNet3Plus(width=2))


def test_in_bfloat16_the_masks_way_down_is_lowered_too():
    from dsnotes.training.forward_pass import ForwardPass

    net, objective = small("rec")
    seen = []
    net.backbone.bottleneck.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    _, terms = ForwardPass(net, objective, amp=torch.bfloat16)(batch())
    assert seen == [torch.bfloat16] * 2
    assert {term.dtype for term in terms.values()} == {torch.float32}
