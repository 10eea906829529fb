"""UNet3+'s hybrid loss against MONAI's pieces, and what a small or a perfect map does to it."""

import pytest
import torch

from dsnotes.losses import focal, full_scale, ms_ssim, soft_iou
from dsnotes.losses.full_scale import SCALE_WEIGHTS


def pair(channels=1, size=(2, 192, 192), seed=0):
    g = torch.Generator().manual_seed(seed)
    batch, *space = size
    t = (torch.rand(batch, channels, *space, generator=g) > 0.7).float()
    return (0.6 * t + 0.4 * torch.rand(t.shape, generator=g)), t


def test_ms_ssim_is_monais():
    from monai.metrics import MultiScaleSSIMMetric

    p, t = pair()
    oracle = MultiScaleSSIMMetric(spatial_dims=2, data_range=1.0, weights=SCALE_WEIGHTS, kernel_size=11)
    torch.testing.assert_close(ms_ssim(p, t), 1 - oracle(p, t).mean(), atol=1e-4, rtol=1e-3)


def test_ms_ssim_leaves_out_scales_that_do_not_fit():
    from monai.metrics import MultiScaleSSIMMetric

    p, t = pair(size=(2, 24, 30))
    two = tuple(w / sum(SCALE_WEIGHTS[:2]) for w in SCALE_WEIGHTS[:2])
    oracle = MultiScaleSSIMMetric(spatial_dims=2, data_range=1.0, weights=two, kernel_size=11)
    torch.testing.assert_close(ms_ssim(p, t), 1 - oracle(p, t).mean(), atol=1e-4, rtol=1e-3)
    with pytest.raises(ValueError, match=r"\(8, 8\) is smaller than .*window of 11"):
        ms_ssim(*pair(size=(1, 8, 8)))


def test_focal_is_monais_over_both_classes():
    from monai.losses import FocalLoss

    z, t = torch.randn(2, 3, 8, 8), torch.nn.functional.one_hot(torch.randint(0, 3, (2, 8, 8)), 3).movedim(-1, 1)
    expected = 3 * FocalLoss(gamma=2.0, use_softmax=True, include_background=True)(z, t.float())  # a mean over classes
    torch.testing.assert_close(focal(z, t.float()), expected)
    one, y = torch.randn(2, 1, 8, 8), (torch.rand(2, 1, 8, 8) > 0.5).float()
    torch.testing.assert_close(focal(one, y), FocalLoss(gamma=2.0)(one, y))


def test_iou_is_monais_jaccard():
    from monai.losses import DiceLoss

    p, t = pair(channels=2, size=(3, 9, 7))
    torch.testing.assert_close(soft_iou(p, t), DiceLoss(jaccard=True, smooth_nr=1e-5, smooth_dr=1e-5)(p, t))


@pytest.mark.parametrize("size", [(2, 32, 32), (1, 16, 16, 16)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_sure_and_right_answer_costs_nothing_and_gradients_are_finite(size, channels):
    batch, *space = size
    label = torch.randint(0, max(channels, 2), (batch, *space))
    t = (label == 1)[:, None].float() if channels == 1 else torch.stack([(label == c).float() for c in range(3)], 1)
    right = 40 * (t - 0.5)
    assert full_scale(right, t).item() == pytest.approx(0, abs=1e-4)
    wrong = (-right).requires_grad_()
    full_scale(wrong, t).backward()
    assert wrong.grad.isfinite().all()
    assert full_scale(wrong, t) > 1
